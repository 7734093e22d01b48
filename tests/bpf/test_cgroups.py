# SPDX-License-Identifier: Apache-2.0
"""What the kernel decides about a cgroup at the moment it is made."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.object import Object

pytestmark = pytest.mark.bpf

OBJECTS = Path(__file__).parents[2] / "node_agent/eunomia_agent/objects"
CLASSIFIED, PENDING, REFUSED = 0, 1, 2


class Decisions:
    """The agent-wide programs, attached."""

    def __init__(self, programs: Object) -> None:
        self.targets = programs.map("targets")
        self._limit = programs.map("pending_limit")
        self._count = programs.map("pending_count")
        ring = programs.map("cgroup_events")
        self.drain = Drain(ring, event_layout(programs.btf, "cgroup_events"))

    def limit(self, *, candidates: int = 0, classified: int = 0, bound: int = 0) -> None:
        self._limit.update(bytes(4), struct.pack("=3Q", candidates, classified, bound))

    def count(self) -> tuple[int, int, int]:
        """Created, refused, lost."""
        created, refused, lost = struct.unpack("=3Q", self._count.lookup(bytes(4)) or b"")
        return created, refused, lost

    def classify(self, cgroup: Path, jobs: int, *, inherit: bool) -> None:
        value = struct.pack("=QII", jobs, CLASSIFIED, inherit)
        self.targets.update(struct.pack("=Q", cgroup.stat().st_ino), value)

    def of(self, cgroup_id: int) -> tuple[int, int, int] | None:
        """Jobs, state, inherit."""
        value = self.targets.lookup(struct.pack("=Q", cgroup_id))
        return struct.unpack("=QII", value) if value else None


@pytest.fixture
def decisions() -> Iterator[Decisions]:
    with Object.open(OBJECTS / "cgroups.bpf.o") as programs:
        programs.load()
        found = Decisions(programs)
        programs.attach()
        yield found
        found.drain.close()


def told(batch: Batch, hierarchy: Path, *cgroups: Path) -> list[tuple[str, str]]:
    wanted = {f"/{path.relative_to(hierarchy)}" for path in cgroups}
    rows = zip(batch.text("kind"), batch.text("path"), strict=True)
    return [(kind.removeprefix("cgroup_"), path) for kind, path in rows if path in wanted]


def test_a_cgroup_that_comes_and_goes_is_told_with_its_path_and_parent(
    decisions: Decisions, make_cgroup: Callable[..., Path], hierarchy: Path
) -> None:
    parent = make_cgroup()
    child = make_cgroup(parent=parent)
    ids = parent.stat().st_ino, child.stat().st_ino
    child.rmdir()

    batch = decisions.drain.drain()

    path = f"/{child.relative_to(hierarchy)}"
    assert told(batch, hierarchy, parent, child) == [
        ("mkdir", f"/{parent.relative_to(hierarchy)}"),
        ("mkdir", path),
        ("rmdir", path),
    ]
    of_child = batch.take(batch.fixed["cgroup_id"] == ids[1])
    assert of_child.fixed["parent_id"].tolist() == [ids[0]] * 2
    assert decisions.of(ids[0]) is None  # no job could want it


@pytest.mark.parametrize(
    ("jobs", "inherit", "decided"),
    [
        (0b1010, True, (0b1010, CLASSIFIED, 1)),
        (0b1010, False, (0b1, PENDING, 0)),
        (0, True, (0b1, PENDING, 0)),
    ],
)
def test_only_a_container_hands_its_jobs_down(
    decisions: Decisions,
    make_cgroup: Callable[..., Path],
    jobs: int,
    inherit: bool,
    decided: tuple[int, int, int],
) -> None:
    parent = make_cgroup()
    decisions.classify(parent, jobs, inherit=inherit)
    decisions.limit(candidates=0b1, bound=100)

    child = make_cgroup(parent=parent)

    assert decisions.of(child.stat().st_ino) == decided


def test_no_more_than_the_bound_are_pending_and_the_rest_is_refused_and_counted(
    decisions: Decisions, make_cgroup: Callable[..., Path]
) -> None:
    decisions.limit(candidates=0b11, bound=3)
    for _ in range(5):
        make_cgroup()

    made = decisions.drain.drain().fixed["cgroup_id"].tolist()  # others may make some as well
    states = [decisions.of(each) for each in made]

    assert states[:3] == [(0b11, PENDING, 0)] * 3
    assert states[3:] == [(0b11, REFUSED, 0)] * (len(made) - 3)
    assert decisions.count() == (3, len(made) - 3, 0)

    decisions.limit(candidates=0b11, bound=3, classified=1)
    assert decisions.of(make_cgroup().stat().st_ino) == (0b11, PENDING, 0)


def test_a_directory_in_another_hierarchy_is_none_of_ours(decisions: Decisions) -> None:
    roots = [Path("/sys/fs/cgroup") / name for name in ("pids", "freezer", "cpu")]
    root = next((root for root in roots if (root / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("needs a cgroup v1 hierarchy beside the v2 one")
    decisions.limit(candidates=0b1, bound=100)
    cgroup = root / "eunomia-test-v1"
    cgroup.mkdir()
    try:
        batch = decisions.drain.drain()
    finally:
        cgroup.rmdir()

    assert not any("eunomia-test-v1" in path for path in batch.text("path"))


def test_a_ring_with_no_reader_counts_what_it_could_not_tell(
    decisions: Decisions, hierarchy: Path
) -> None:
    path = hierarchy / "eunomia-test-churn"
    for _ in range(9_000):
        path.mkdir()
        path.rmdir()
    batches = [decisions.drain.drain()]
    while decisions.drain.more:
        batches.append(decisions.drain.drain())

    told_of = sum(batch.text("path").count(f"/{path.name}") for batch in batches)

    assert decisions.count()[2] > 0
    assert told_of + decisions.count()[2] >= 18_000


def test_a_cgroup_that_the_agent_entered_first_is_not_refused(
    decisions: Decisions, make_cgroup: Callable[..., Path]
) -> None:
    decisions.limit(candidates=0b1, bound=100)
    first = make_cgroup().stat().st_ino
    ahead = range(first + 1, first + 65)  # what the next one may be called
    for each in ahead:
        decisions.targets.update(struct.pack("=Q", each), struct.pack("=QII", 0b10, CLASSIFIED, 1))

    made = make_cgroup().stat().st_ino

    if made not in ahead:
        pytest.skip("the kernel did not number the cgroups one after the other")
    assert decisions.of(made) == (0b10, CLASSIFIED, 1)
    created, refused, _ = decisions.count()
    assert (created >= 1, refused) == (True, 0)
