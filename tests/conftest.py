# SPDX-License-Identifier: Apache-2.0
"""What tests of several packages need: a catalogue that no build has to write first, commands that
say when they are ready, and the machine's cgroup tree with cgroups of a test's own."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.hierarchy import find_root
from eunomia_api.tracker import Catalogue, CatalogueColumn, CatalogueTracker, Param

TRACEFS = Path("/sys/kernel/tracing")
READY_SECONDS = 60.0
"""Long enough for an emulated machine."""


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    args = Param(type="bool", default=False, help="Keep the arguments.")
    most = Param(type="int", default=256, min=0, max=4096, help="Most bytes of them.")
    prefix = Param(type="string", default="", max_length=63, help="Only such paths.")
    return Catalogue(
        hash="0" * 64,
        trackers=[
            CatalogueTracker(
                name="process",
                help="Processes.",
                params={"args": args, "maxArgs": most},
                sources={"events": []},
            ),
            CatalogueTracker(
                name="opensnoop",
                help="Opens.",
                denies={"lsm/file_open": []},
                params={"prefix": prefix},
                sources={"events": ["pid", "error", "path"]},
                rows=[
                    CatalogueColumn(name="pid", type="tgid_t", json_type="integer"),
                    CatalogueColumn(name="error", type="errno_t", json_type="string"),
                    CatalogueColumn(name="path", type="path_t", json_type="string"),
                ],
            ),
        ],
    )


@pytest.fixture(scope="session")
def tracefs() -> Iterator[None]:
    """Classic tracepoints need it; what was not mounted is not left mounted."""
    mine = os.geteuid() == 0 and not (TRACEFS / "events").exists()
    if mine:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACEFS], check=True)
    yield
    if mine:
        subprocess.run(["umount", "--lazy", TRACEFS], check=False)


@pytest.fixture
def start_service() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a command, heard through pipes, and wait until it says that it is ready: sd_notify(3).

    What still runs at the end of the test is killed.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind("")  # the kernel finds a free abstract address: unix(7)
            place = f"@{manager.getsockname()[1:].decode()}"
            environment = {**options.pop("env", os.environ), "NOTIFY_SOCKET": place}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            service = subprocess.Popen(command, env=environment, **{**pipes, **options})
            started.append(service)
            end = os.pidfd_open(service.pid)
            try:
                heard, _, _ = select.select([manager, end], [], [], READY_SECONDS)
            finally:
                os.close(end)
            assert heard, f"not ready in {READY_SECONDS:.0f} s: {command}"
            assert manager in heard, service.communicate()
            assert manager.recv(4096) == b"READY=1"
        return service

    yield start
    for service in started:
        if service.poll() is None:
            service.kill()
        service.communicate()


@pytest.fixture(scope="session")
def hierarchy() -> Path:
    """The root of the machine's cgroup v2 tree."""
    root = find_root(Path("/proc/self/mountinfo").read_text())
    if root is None:
        pytest.skip("no cgroup v2 tree is mounted here")
    return root


@pytest.fixture
def make_cgroup(hierarchy: Path) -> Iterator[Callable[..., Path]]:
    """Make cgroups that go away with the test: at the top, or by their bare name in another one."""
    made: list[Path] = []

    def make(name: str = "", parent: Path | None = None) -> Path:
        name = name or str(len(made))
        path = parent / name if parent else hierarchy / f"eunomia-test-{os.getpid()}-{name}"
        path.mkdir()
        made.append(path)
        return path

    yield make
    for path in reversed(made):
        _remove(path)


def _remove(cgroup: Path) -> None:
    """Remove a cgroup, as soon as its last process is really gone."""
    for attempt in range(100):
        try:
            cgroup.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def cgroup(make_cgroup: Callable[..., Path]) -> Path:
    """A cgroup of the test's own."""
    return make_cgroup("own")
