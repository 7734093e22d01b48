# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp`: record a command, and run it under what was recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EUNOMIA = [sys.executable, "-c", "from eunomia_agent.cli.main import main; main()", "seccomp"]
SERVER = """
import http.server, os, sys, threading, urllib.request
os.chdir(sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(len(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/page").read()))
if len(sys.argv) > 2:
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.mount(b"none", sys.argv[2].encode(), b"tmpfs", 0, None), ctypes.get_errno())
sys.stdout.flush()
os._exit(0)
"""

Eunomia = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def eunomia() -> Eunomia:
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*EUNOMIA, *map(str, arguments)], capture_output=True, text=True, check=False
        )

    return run


def names(profile: Path) -> set[str]:
    return set(json.loads(profile.read_text())["syscalls"][0]["names"])


@pytest.mark.bpf
def test_a_recorded_server_serves_the_same_under_its_profile_and_is_refused_a_mount(
    eunomia: Eunomia, tmp_path: Path
) -> None:
    profile, place = tmp_path / "server.json", tmp_path / "place"
    place.mkdir()
    (tmp_path / "page").write_text("x" * 1000)
    serve = sys.executable, "-c", SERVER, tmp_path

    recorded = eunomia("-o", profile, "--", *serve)
    confined = eunomia("run", "--profile", profile, "--", *serve)
    mounting = eunomia("run", "--profile", profile, "--", *serve, place)

    assert recorded.stdout == confined.stdout == "1000\n"
    assert "1 run, 1 from the first instruction" in recorded.stderr
    assert {"accept4", "listen", "clone3"} & names(profile)
    assert "mount" not in names(profile)
    assert mounting.stdout == "1000\n-1 1\n"  # EPERM
    assert (recorded.returncode, confined.returncode) == (0, 0)


@pytest.mark.bpf
def test_a_command_ends_with_its_own_code_and_leaves_no_cgroup(eunomia: Eunomia) -> None:
    done = eunomia("--", "/bin/sh", "-c", "exit 3")

    assert done.returncode == 3
    assert json.loads(done.stdout)["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not list(Path("/sys/fs/cgroup").glob("**/eunomia-seccomp-*"))


@pytest.mark.bpf
def test_a_command_that_goes_on_is_ended_in_time_with_what_it_started(eunomia: Eunomia) -> None:
    began = time.monotonic()

    done = eunomia("-T", "1", "--", "/bin/sh", "-c", "sleep 60 & sleep 60")

    assert time.monotonic() - began < 20
    assert done.returncode == 128 + signal.SIGTERM
    assert "clock_nanosleep" in done.stdout or "nanosleep" in done.stdout


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sh", "-c", "while :; do pwd; umask; sleep 0.2; done"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.bpf
def test_a_process_that_runs_is_recorded_with_what_it_starts_and_nothing_beside(
    eunomia: Eunomia, sleeper: "subprocess.Popen[bytes]"
) -> None:
    done = eunomia("-p", sleeper.pid, "-T", "1")
    found = set(json.loads(done.stdout)["syscalls"][0]["names"])

    assert "wait4" in found
    assert "clock_nanosleep" in found  # of the sleep that it starts
    assert found.isdisjoint({"bpf", "epoll_wait", "sched_setaffinity"})
    assert "it ran already" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to record has to be said"),
        (["-p", "1", "-c", "web"], "has to be said, once"),
        (["-T", "0", "--", "true"], "-T must be above 0"),
        (["--target", "b", "--", "true"], "give --source"),
        (["--source", "a", "--target", "b"], "give -o FILE"),
        (["-p", "4194304"], "there is no process 4194304"),
        (["--allow", "opne", "--", "true"], "there is no system call opne"),
        (["--", "no-such-command-anywhere"], "there is no command no-such-command-anywhere"),
        (["run", "--profile", "/nowhere", "--", "true"], "/nowhere: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    eunomia: Eunomia, arguments: list[str], message: str
) -> None:
    done = eunomia(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_profile_is_refused(eunomia: Eunomia, tmp_path: Path) -> None:
    wrong = tmp_path / "profile.json"
    for content, message in {
        "[]": "holds no profile",
        "{": "is not JSON",
        "{}": "action None is not known",
    }.items():
        wrong.write_text(content)
        assert message in eunomia("run", "--profile", wrong, "--", "true").stderr


def test_how_a_container_gets_its_profile_is_told() -> None:
    from eunomia_agent.cli.advice import application
    from eunomia_agent.containers.runtime import Container, Sandbox

    pod = Container("1" * 64, Sandbox("2" * 64, "shop", "web-1", "u"), "web", "nginx:1")
    docker = Container("3" * 64, Sandbox(""), "cache", "redis:7")

    told = "\n".join(application(Path("web.json"), [pod, docker]))

    assert "no filter can be put on a container that runs" in told
    assert "localhostProfile: eunomia/shop/web.json" in told
    assert f"docker run --security-opt seccomp={Path('web.json').absolute()} … redis:7" in told
