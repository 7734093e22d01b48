# SPDX-License-Identifier: Apache-2.0
"""What tests of several packages need: a catalogue that no build has to write first, and the
machine's cgroup tree with cgroups of a test's own."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eunomia_agent.containers.hierarchy import find_root
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_api.tracker import Catalogue, CatalogueColumn, CatalogueTracker, Param

TRACEFS = Path("/sys/kernel/tracing")


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


@pytest.fixture(scope="session")
def is_attached() -> Callable[[int], bool]:
    """Tells of a process, by its id, whether programs of trackers are attached for it."""
    with Object.open(OBJECTS / "cgroups.bpf.o") as watching:  # attached before any other
        first = len(watching.programs)  # each with a link, those that are only run too

    def links(pid: int) -> int:
        return sum(
            os.readlink(fd) in ("anon_inode:bpf_link", "anon_inode:[perf_event]")
            for fd in Path(f"/proc/{pid}/fd").iterdir()
        )

    def whether(pid: int) -> bool:
        try:
            return links(pid) > first
        except OSError:
            return False

    return whether


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
