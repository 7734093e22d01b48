# SPDX-License-Identifier: Apache-2.0
"""Containers of a real Docker, made anew under a profile."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli.engine import TIMEOUT_SECONDS, Engine, EngineError, engine_of
from eunomia_agent.cli.rerun import CannotRerun, renewed, rerun
from eunomia_agent.learning.calls import ARCHITECTURE
from eunomia_api.profile import ABIS, profile

EUNOMIA = [sys.executable, "-c", "from eunomia_agent.cli.main import main; main()", "seccomp"]
IMAGE = "eunomia-test:1"
SERVE = ("/bin/busybox", "sh", "-c", "echo began >>/data/log; exec /bin/busybox sleep 1000")


@pytest.fixture
def docker(dockerd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if shutil.which("busybox") is None:
        pytest.skip("needs busybox: install busybox-static")
    (tmp_path / "root/bin").mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), tmp_path / "root/bin/busybox")
    archive = subprocess.run(
        ["tar", "c", "-C", tmp_path / "root", "."], capture_output=True, check=True
    )
    dockerd.docker("import", "-", IMAGE, stdin=archive.stdout)
    monkeypatch.setenv("EUNOMIA_DOCKER_SOCKET", str(dockerd.socket))
    return dockerd.docker


def run(docker: Any, name: str, *more: str) -> str:
    words = ("run", "-d", "--name", name, "--network", "none", "-v", "/data", *more, IMAGE, *SERVE)
    return str(docker(*words))


def told(docker: Any, name: str) -> Any:
    return json.loads(docker("inspect", name))[0]


@pytest.mark.bpf
def test_what_one_container_calls_another_is_held_to(docker: Any, tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    run(docker, "source")
    run(docker, "web", "--label", "app=web", "-e", "A=1", "--restart", "always", "--hostname", "w")
    before = told(docker, "web")

    command = [*EUNOMIA, "--source", "source", "--target", "web", "-o", str(file), "-T", "6"]
    recording = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not file.exists() and recording.poll() is None:
        docker("restart", "-t", "0", "source")
    _, lines = recording.communicate()

    assert recording.returncode == 0, lines
    after, kept = told(docker, "web"), told(docker, "web-before-1")
    assert kept["Id"] == before["Id"]
    assert (after["State"]["Running"], kept["State"]["Running"]) == (True, False)
    (option,) = after["HostConfig"]["SecurityOpt"]
    assert option == f"seccomp={file.read_text()}"
    same = ("Env", "Labels", "Cmd", "Hostname", "Image")
    assert [after["Config"][key] for key in same] == [before["Config"][key] for key in same]
    assert after["Mounts"][0]["Name"] == before["Mounts"][0]["Name"]
    assert after["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert kept["HostConfig"]["RestartPolicy"]["Name"] == "no"
    link = ("exec", "web", "/bin/busybox", "ln", "-s", "/x", "/data/x")
    with pytest.raises(AssertionError, match="Operation not permitted"):
        docker(*link)

    # Back, as it is told.
    back = lines.strip().splitlines()[-1].strip()
    assert back == (
        "docker rm -f web && docker rename web-before-1 web && docker start web"
        " && docker update --restart always web"
    )
    for each in back.split(" && "):
        docker(*each.split()[1:])
    assert told(docker, "web")["State"]["Running"]
    docker(*link)


@pytest.fixture
def strict() -> str:
    return json.dumps(profile([], ABIS[ARCHITECTURE]))


def made(name: str, strict: str) -> list[str]:
    found = engine_of(name)
    assert found is not None
    return list(rerun(*found, strict))


def test_a_container_that_cannot_begin_under_its_profile_is_back_as_it_was(
    docker: Any, strict: str
) -> None:
    old = run(docker, "web", "--restart", "always")
    with pytest.raises(CannotRerun, match="is back as it was: the container engine says"):
        made("web", strict)
    found = told(docker, "web")
    assert (found["Id"], found["State"]["Running"]) == (old, True)
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert docker("ps", "-aq", "--no-trunc") == old, "nothing else is left"


def test_one_that_stands_still_stands_still_under_its_profile(docker: Any, strict: str) -> None:
    run(docker, "web")
    docker("stop", "-t", "0", "web")
    docker("create", "--name", "web-before-1", IMAGE, "true")
    assert "the one before is web-before-2" in made("web", strict)[0]
    assert not told(docker, "web")["State"]["Running"]
    assert told(docker, "web")["HostConfig"]["SecurityOpt"] == [f"seccomp={strict}"]


def test_what_lies_on_a_mounted_volume_of_no_name_is_there_afterwards(docker: Any) -> None:
    run(docker, "web", "--mount", "type=volume,target=/var/lib/pg")
    docker("exec", "web", "/bin/busybox", "touch", "/var/lib/pg/PG_VERSION")
    made("web", json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    assert docker("exec", "web", "/bin/busybox", "ls", "/var/lib/pg") == "PG_VERSION"


@pytest.mark.parametrize(
    ("option", "message"), [("--privileged", "is privileged"), ("--rm", "was run with --rm")]
)
def test_what_cannot_be_made_anew_is_left_alone(
    docker: Any, strict: str, option: str, message: str
) -> None:
    old = docker("create", "--name", "web", option, IMAGE, *SERVE)
    with pytest.raises(CannotRerun, match=message):
        made("web", strict)
    assert docker("ps", "-aq", "--no-trunc") == old


def test_an_interrupt_while_it_stops_leaves_it_running_as_it_was(docker: Any, strict: str) -> None:
    old = run(docker, "web", "--stop-timeout", "4")  # no TERM ends it: it is the first process
    began = told(docker, "web")["State"]["StartedAt"]
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(CannotRerun, match="web is back as it was: it was interrupted"):
        made("web", strict)
    timer.join()
    time.sleep(3)  # a stop that goes on would be over
    found = told(docker, "web")
    assert (found["Id"], found["State"]["Running"]) == (old, True)
    assert found["State"]["StartedAt"] > began
    assert docker("ps", "-aq", "--no-trunc") == old


class Scripted(Engine):
    """An engine with one container that runs, web. wrong: what is raised, by what is asked.

    What is raised for a stop leaves the container about to stop: to start it does nothing then.
    """

    def __init__(self, wrong: Mapping[str, BaseException]) -> None:
        super().__init__(Path("/nowhere"))
        self.names = {"old": "web"}
        self.running = {"old"}
        self.timeouts: dict[str, float | None] = {}
        self._wrong = dict(wrong)

    def get(self, path: str) -> Any:
        self._meet("json" if path.endswith("new/json") else "")
        return {"Id": "image", "State": {"Running": True, "ExitCode": 0}}

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        **query: str,
    ) -> Any:
        _, _, id_, verb = f"{path}/".split("/")[:4]
        self.timeouts[f"{verb} {id_}"] = timeout
        if id_ == "create":
            self.names["new"] = query["name"]
        if verb == "stop":
            self.running.discard(id_)
        self._meet(f"{verb} {id_}")
        if verb == "rename" and query["name"] in self.names.values():
            raise EngineError("it is in use", 409)
        if verb == "rename":
            self.names[id_] = query["name"]
        if verb == "restart" or (verb == "start" and id_ == "new"):
            self.running.add(id_)
        return {"Id": "new"}

    def delete(self, path: str) -> None:
        self._meet("delete")
        self.running.discard("new")
        del self.names["new"]

    def _meet(self, asked: str) -> None:
        if asked in self._wrong:
            raise self._wrong[asked]


RUNS = {
    "Id": "old",
    "Name": "/web",
    "Image": "image",
    "Config": {"Image": "nginx:1", "StopTimeout": 120},
    "HostConfig": {},
    "State": {"Running": True},
    "NetworkSettings": {},
}


@pytest.mark.parametrize("asked", ["stop old", "rename new", "start new", "json"])
@pytest.mark.parametrize(
    ("error", "why"),
    [(EngineError("timed out"), "timed out"), (KeyboardInterrupt(), "it was interrupted")],
)
def test_whatever_comes_between_it_runs_again_under_its_name(
    asked: str, error: BaseException, why: str
) -> None:
    engine = Scripted({asked: error})
    with pytest.raises(CannotRerun) as refused:
        list(rerun(engine, RUNS, "{}"))
    assert str(refused.value) == f"web is back as it was: {why}"
    assert (engine.names, engine.running) == ({"old": "web"}, {"old"})
    assert engine.timeouts["stop old"] == engine.timeouts["restart old"] == 180


def test_a_new_one_that_cannot_be_removed_keeps_neither_the_name_nor_the_service_down() -> None:
    busy = EngineError("device busy")
    engine = Scripted({"start new": EngineError("exec: no"), "delete": busy})
    with pytest.raises(CannotRerun, match=r"but web-new is left .*device busy.*: exec: no"):
        list(rerun(engine, RUNS, "{}"))
    assert engine.names == {"old": "web", "new": "web-new"}
    assert engine.running == {"old"}


def test_where_it_does_not_start_again_that_is_said() -> None:
    engine = Scripted({"start new": EngineError("exec: no"), "restart old": EngineError("no pid")})
    with pytest.raises(CannotRerun, match=r"^web does not run \(docker start old; no pid\)"):
        list(rerun(engine, RUNS, "{}"))


def test_impatience_on_the_way_back_does_not_cut_it_short() -> None:
    class Impatient(Scripted):
        def delete(self, path: str) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            super().delete(path)

    engine = Impatient({"stop old": KeyboardInterrupt()})
    with pytest.raises(CannotRerun):
        list(rerun(engine, RUNS, "{}"))
    assert (engine.names, engine.running) == ({"old": "web"}, {"old"})


def test_where_no_engine_listens_nothing_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUNOMIA_DOCKER_SOCKET", str(tmp_path / "s"))
    assert engine_of("web") is None


FOUND: dict[str, Any] = {
    "Id": "ab" * 32,
    "Name": "/web",
    "Config": {"Hostname": "ab" * 6, "Image": "nginx:1", "Labels": {"app": "web"}},
    "HostConfig": {
        "NetworkMode": "shop",
        "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "Links": ["/db:/web/store"],
        "Binds": ["/etc/web:/etc/web:ro"],
    },
    "Mounts": [
        {"Type": "bind", "Source": "/etc/web", "Destination": "/etc/web", "RW": False},
        {"Type": "volume", "Name": "3f", "Destination": "/data", "RW": True},
    ],
    "NetworkSettings": {
        "Networks": {
            "shop": {"Aliases": ["www", "ab" * 6], "IPAMConfig": {"IPv4Address": "10.1.2.3"}},
            "back": {"Aliases": None},
        }
    },
}


def test_all_but_the_profile_is_as_it_was() -> None:
    body = renewed(FOUND, "nginx:1", "{}")
    assert body["Hostname"] == "", "the engine gives it one by its id"
    assert body["Labels"] == {"app": "web"}
    host = body["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp={}"]
    assert host["Links"] == ["db:store"]
    assert host["Binds"] == ["/etc/web:/etc/web:ro", "3f:/data:rw"]
    (endpoint,) = body["NetworkingConfig"]["EndpointsConfig"].items()
    address = {"IPv4Address": "10.1.2.3"}
    assert endpoint == (
        "shop",
        {"IPAMConfig": address, "Links": None, "DriverOpts": None, "Aliases": ["www"]},
    )


def test_a_volume_that_was_asked_for_without_a_name_is_the_same_one() -> None:
    cache = {"Type": "volume", "Target": "/cache", "Source": "shared"}
    asked = [{"Type": "volume", "Target": "/var/lib/pg/", "ReadOnly": False}, cache]
    asked.append({"Type": "tmpfs", "Target": "/run"})
    there = [
        {"Type": "volume", "Name": "7a", "Destination": "/var/lib/pg", "RW": True},
        {"Type": "volume", "Name": "shared", "Destination": "/cache", "RW": True},
        {"Type": "volume", "Name": "9c", "Destination": "/logs", "RW": True},
    ]
    host = {**FOUND["HostConfig"], "Binds": ["/logs"], "Mounts": asked}
    host = renewed({**FOUND, "HostConfig": host, "Mounts": there}, "pg", "{}")["HostConfig"]
    assert host["Binds"] == ["9c:/logs:rw"]
    assert host["Mounts"] == [{**asked[0], "Source": "7a"}, *asked[1:]]


def test_a_container_that_shares_anothers_network_has_no_name_or_ports_of_its_own() -> None:
    config = {**FOUND["Config"], "Hostname": "db", "ExposedPorts": {"80/tcp": {}}}
    host = {**FOUND["HostConfig"], "NetworkMode": f"container:{'cd' * 32}"}
    alone = {"Networks": {}}
    body = renewed(
        {**FOUND, "Config": config, "HostConfig": host, "NetworkSettings": alone}, "i", "{}"
    )
    assert (body["Hostname"], body["ExposedPorts"]) == ("", None)
    assert body["NetworkingConfig"]["EndpointsConfig"] == {}
