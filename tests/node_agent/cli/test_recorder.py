# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp -c NAME`: containers by the name that a runtime knows them by."""

import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli import auditor, recorder, watch
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.watch import Whom
from eunomia_agent.containers.runtime import Container, Identity, Sandbox

pytestmark = pytest.mark.bpf


class FakeRuntime:
    """Knows two containers of one name, one of them not started yet, and one of another."""

    def __init__(self) -> None:
        pod = Sandbox("a" * 64, "shop", "web-1", "uid")
        here = f"{os.getpid():016x}"
        self.running = Container("1" * 48 + here, pod, "web", "nginx:1")
        self.later = Container("2" * 48 + here, pod, "web", "nginx:1")
        self.other = Container("3" * 48 + here, Sandbox(""), "cache", "redis:7")

    async def identity(self, identity: str) -> Identity | None:
        return next((each for each in await self.containers() if each.id == identity), None)

    async def identities(self) -> list[Identity]:
        return [*await self.containers()]

    async def containers(self) -> list[Container]:
        return [self.running, self.later, self.other]

    async def profile(self, _: str) -> str | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")
    runtime = FakeRuntime()

    @asynccontextmanager
    async def open_runtime() -> AsyncGenerator[FakeRuntime]:
        yield runtime

    monkeypatch.setattr(watch, "open_runtime", open_runtime)
    return runtime


@pytest.fixture
def contain(hierarchy: Path) -> Iterator[Callable[[Container, str], None]]:
    """Run a script over and over in a cgroup named as a container's is."""
    made: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def start(container: Container, script: str) -> None:
        place = hierarchy / container.id
        place.mkdir()
        process = subprocess.Popen(
            ["sh", "-c", f"read go; unshare -m sh -c 'while :; do {script}; sleep 0.1; done'"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        (place / "cgroup.procs").write_text(str(process.pid))
        made.append((place, process))
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()

    yield start
    for place, process in made:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for _ in range(100):
            try:
                place.rmdir()
                break
            except OSError:
                time.sleep(0.02)


def test_all_containers_of_a_name_are_recorded_those_that_start_meanwhile_too(
    runtime: FakeRuntime, contain: Any, tmp_path: Path, capsys: Any
) -> None:
    contain(runtime.running, "ln -sf /x /tmp/eunomia-test-link")
    contain(runtime.other, "chroot / true")
    signal.signal(signal.SIGALRM, lambda *_: contain(runtime.later, "sync"))
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    file = tmp_path / "web.json"

    whom = Whom(container="web", target="cache", seconds=4.0)
    code = recorder.record(whom, recorder.Made(file, allow=("statx",)))
    found = set(json.loads(file.read_text())["syscalls"][0]["names"])
    told = capsys.readouterr().err

    assert code == 0
    assert {"symlinkat", "sync", "statx"} <= found or {"symlink", "sync", "statx"} <= found
    assert "chroot" not in found
    assert "2 runs, 1 from the first instruction" in told
    assert f"docker run --security-opt seccomp={file} … redis:7" in told


def test_containers_of_a_name_are_audited_those_that_start_meanwhile_too(
    runtime: FakeRuntime, contain: Any, tmp_path: Path
) -> None:
    profile, told = tmp_path / "all-but.json", tmp_path / "told"
    refused = {"names": ["sync", "chroot"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    contain(runtime.running, "true")
    contain(runtime.other, "chroot / true")
    signal.signal(signal.SIGALRM, lambda *_: contain(runtime.later, "sync"))
    signal.setitimer(signal.ITIMER_REAL, 1.5)

    code = auditor.audit(Whom(container="web", seconds=4.0), str(profile), told, as_json=True)
    (found,) = map(json.loads, told.read_text().splitlines())

    assert code == 1
    assert (found["container"], found["call"], found["comm"]) == ("web", "sync", "sync")
    assert found["count"] > 2


def test_a_container_that_does_nothing_has_no_profile(runtime: FakeRuntime, tmp_path: Path) -> None:
    file = tmp_path / "web.json"

    with pytest.raises(CommandError, match="nothing was called"):
        recorder.record(Whom(container="web", seconds=0.5), recorder.Made(file))
    assert not file.exists()
