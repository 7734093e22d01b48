# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp`: record a command, and run it under what was recorded."""

import json
import os
import re
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


def all_but(folder: Path, *calls: str) -> Path:
    """A profile that refuses these calls alone."""
    refused = {"names": calls, "action": "SCMP_ACT_ERRNO"}
    profile = folder / "all-but.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    return profile


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
def test_a_profile_builds_on_another_one_and_refuses_what_neither_allows(
    eunomia: Eunomia, tmp_path: Path
) -> None:
    ours, made = tmp_path / "ours.json", tmp_path / "made.json"
    chmod = {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ALLOW"}
    ours.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [chmod]}))
    file = tmp_path / "file"
    file.touch()

    eunomia("-o", made, "--base", ours, "--", "chmod", "--help")
    chmod_, link = (
        eunomia("run", "--profile", made, "--", *command)
        for command in (["chmod", "600", file], ["ln", "-s", "/x", tmp_path / "link"])
    )

    assert (chmod_.returncode, chmod_.stderr) == (0, "")
    assert "Operation not permitted" in link.stderr
    compared = eunomia("diff", ours, made)
    assert compared.returncode == 1
    assert "+ execve" in compared.stdout.splitlines()
    assert not [line for line in compared.stdout.splitlines() if line.startswith("-")]


@pytest.mark.bpf
def test_what_a_profile_would_refuse_a_command_is_told_with_who_called_it(
    eunomia: Eunomia, tmp_path: Path
) -> None:
    profile, link = tmp_path / "shell.json", tmp_path / "link"
    script = f"rm -f {link}; ln -s /x {link}; exit 3"
    eunomia("-o", profile, "--", "/bin/sh", "-c", "ls / >/dev/null; chmod --help >/dev/null")

    told = eunomia("audit", "--profile", profile, "--fmt", "json", "--", "/bin/sh", "-c", script)
    lines = {each["call"]: each for each in map(json.loads, told.stdout.splitlines())}
    shown = eunomia("audit", "--profile", profile, "--", "/bin/sh", "-c", script)
    clean = eunomia("audit", "--profile", profile, "--", "/bin/sh", "-c", "ls / >/dev/null; exit 3")

    assert link.is_symlink(), "nothing is refused"
    found = lines.get("symlinkat") or lines["symlink"]
    assert (found["count"], found["comm"], found["refused"]) == (1, "ln", False)
    assert Path(found["exe"]).name == "ln"
    assert found["ancestors"][0] == "sh"
    assert (found["uid"], found["container"]) == (0, "")
    assert told.returncode == 1
    head, *rows = shown.stdout.splitlines()
    assert head.split()[:5] == ["CALL", "COUNT", "COMM", "PID", "EXE"]
    assert [row.split()[:3] for row in rows if row.startswith("symlink")] == [
        [found["call"], "1", "ln"]
    ]
    assert f"{profile} would refuse {len(lines)}, listed above" in shown.stderr
    assert (clean.stdout, clean.returncode) == ("", 3)
    assert f"{profile} would refuse none" in clean.stderr


@pytest.mark.bpf
def test_what_another_filter_refuses_already_is_told_apart(
    eunomia: Eunomia, tmp_path: Path
) -> None:
    strict, wide = tmp_path / "strict.json", tmp_path / "wide.json"
    eunomia("-o", strict, "--", "/bin/sh", "-c", "ln --help >/dev/null; exit 0")
    eunomia("-o", wide, "--base", "RuntimeDefault", "--", "/bin/sh", "-c", "exit 0")
    under = [*EUNOMIA, "run", "--profile", strict, "--", "ln", "-s", "/x", tmp_path / "link"]

    told = eunomia("audit", "--profile", strict, "--fmt", "json", "--", *under)
    lines = {each["call"]: each for each in map(json.loads, told.stdout.splitlines())}
    borne = eunomia("audit", "--profile", wide, "--fmt", "json", "--", *under)

    found = lines.get("symlinkat") or lines["symlink"]
    assert (found["count"], found["comm"], found["refused"]) == (1, "ln", True)
    assert found["pid"] > 1
    assert Path(found["exe"]).name == "ln"
    assert (found["uid"], len(found["ancestors"]) > 0) == (0, True)
    assert "symlink" not in borne.stdout, "it would let that pass"


@pytest.mark.bpf
def test_the_capabilities_that_a_command_uses_are_told_with_the_call_that_asked(
    eunomia: Eunomia, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()

    owned = eunomia("-o", tmp_path / "own.json", "--", "chown", "1", file)
    plain = eunomia("-o", tmp_path / "plain.json", "--", "true")

    assert re.search(r"^capabilities used: CAP_CHOWN \(f?chown\w*\)$", owned.stderr, re.MULTILINE)
    assert "  the least that it needs: --cap-drop ALL --cap-add CHOWN\n" in owned.stderr
    assert "capabilities used" not in plain.stderr


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


@pytest.mark.bpf
def test_a_process_that_runs_is_audited_with_what_it_starts(
    eunomia: Eunomia, sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    profile = all_but(tmp_path, "clock_nanosleep", "umask")

    done = eunomia("audit", "--profile", profile, "--fmt", "json", "-p", sleeper.pid, "-T", "1.5")
    found = {each["call"]: each for each in map(json.loads, done.stdout.splitlines())}

    assert found.keys() == {"clock_nanosleep", "umask"}
    assert (found["umask"]["comm"], found["umask"]["pid"]) == ("sh", sleeper.pid)
    assert found["clock_nanosleep"]["comm"] == "sleep"
    assert found["umask"]["count"] > 2
    assert done.returncode == 1


@pytest.mark.bpf
def test_no_call_of_a_process_comes_before_what_is_allowed_is_known(
    eunomia: Eunomia, tmp_path: Path
) -> None:
    profile = all_but(tmp_path, "umask")
    endless = "import os\nwhile True: os.umask(0o22)"

    with subprocess.Popen([sys.executable, "-c", endless]) as busy:
        try:
            done = eunomia(
                "audit", "--profile", profile, "--fmt", "json", "-p", busy.pid, "-T", 0.5
            )
        finally:
            busy.kill()
    (found,) = map(json.loads, done.stdout.splitlines())

    assert (found["call"], found["pid"]) == ("umask", busy.pid)
    assert found["count"] > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "whose calls are meant has to be said"),
        (["-p", "1", "-c", "web"], "has to be said, once"),
        (["-T", "0", "--", "true"], "-T must be above 0"),
        (["--target", "b", "--", "true"], "give --source"),
        (["--source", "a", "--target", "b"], "give -o FILE"),
        (["-p", "4194304"], "there is no process 4194304"),
        (["--allow", "opne", "--", "true"], "there is no system call opne"),
        (["--", "no-such-command-anywhere"], "there is no command no-such-command-anywhere"),
        (["--base", "/nowhere", "--", "true"], "/nowhere: No such file"),
        (["audit", "--profile", "/nowhere", "--", "true"], "/nowhere: No such file"),
        (["audit", "--profile", "/nowhere"], "whose calls are meant has to be said"),
        (["diff", "/nowhere", "/nowhere"], "/nowhere: No such file"),
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

    told = "\n".join(line for each in (pod, docker) for line in application(Path("web.json"), each))

    assert "/var/lib/kubelet/seccomp/profiles/web.json" in told
    assert "localhostProfile: profiles/web.json" in told
    assert f"docker run --security-opt seccomp={Path('web.json').absolute()} … redis:7" in told
