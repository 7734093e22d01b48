# SPDX-License-Identifier: Apache-2.0
"""A node on which containers come and go by the thousand, and one whose kernel tells of none."""

import asyncio
import os
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from eunomia_agent import cgroups
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.containers.targets import BOUND, Targets
from eunomia_agent.kernel.errors import KernelError

OBJECTS = Path(cgroups.__file__).parent / "objects"
SOURCE = Path(__file__).parents[3] / "bpf/cgroups.bpf.c"
CONTAINERS = 10_000
AT_A_TIME = 200
JOB = 0b1
MIB = 1 << 20

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads BPF programs"),
]


class Node:
    """The programs, and the answers of an agent with a job that watches some containers.

    wanted: tells whether a container is the job's.
    """

    targets: Targets

    def __init__(self, runtime, wanted: Callable[[Owner], bool]) -> None:
        self.wanted = wanted
        self.last: dict[int, Owner] = {}
        self.gone: list[int] = []
        self.most = 0
        self.watch = cgroups.Cgroups(
            OBJECTS, runtime, root=None, on_change=self.meet, on_gone=self.end, memory=8.0
        )

    async def start(self) -> None:
        try:
            self.targets = await self.watch.load()
        except KernelError as error:
            pytest.skip(f"this kernel takes no BPF programs: {error}")
        self.targets.set_candidates(JOB)
        await self.watch.start()

    def meet(self, owner: Owner) -> None:
        self.last[owner.cgroup_id] = owner
        if owner.kind == "pending":
            self.targets.pend(owner.cgroup_id)
        else:
            self.targets.set(owner.cgroup_id, JOB * self.wanted(owner), inherit=True)
        assert self.watch._index is not None
        self.most = max(self.most, len(self.watch._index._cgroups))

    def end(self, cgroup_id: int) -> None:
        self.gone.append(cgroup_id)
        self.targets.delete(cgroup_id)

    def pending(self) -> int:
        assert self.watch._object is not None
        count, limit = (self.watch._object.map(f"pending_{name}") for name in ("count", "limit"))
        created, _, _ = struct.unpack("=3Q", count.lookup(bytes(4)))
        _, classified, _ = struct.unpack("=3Q", limit.lookup(bytes(4)))
        return (created - classified) % 2**64


@pytest.fixture
async def node(runtime) -> AsyncIterator[Node]:
    node = Node(runtime, lambda owner: owner.kind == "container" and owner.container[-1] == "7")
    yield node
    await node.watch.close()


@pytest.fixture
def folder(hierarchy: Path) -> Iterator[Path]:
    place = hierarchy / f"eunomia-test-{os.getpid()}"
    place.mkdir()
    yield place
    for each in sorted(place.glob("**/"), reverse=True):
        each.rmdir()


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def come_and_go(folder: Path, names: list[str]) -> dict[int, str]:
    """Make a cgroup for each name, AT_A_TIME of them there at a time; return them by their id."""
    made: dict[int, str] = {}
    there = deque[Path]()
    for name in names:
        there.append(folder / name)
        there[-1].mkdir()
        made[there[-1].stat().st_ino] = name
        if len(there) > AT_A_TIME:
            there.popleft().rmdir()
    for each in there:
        each.rmdir()
    return made


async def longest_turn() -> float:
    """Return, when cancelled, for how many seconds of CPU time the loop was busy at most."""
    longest, last = 0.0, time.thread_time()
    try:
        while True:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()
    except asyncio.CancelledError:
        return longest


async def test_ten_thousand_containers_come_and_go_and_each_is_known_or_told_of(
    node: Node, runtime, folder: Path
) -> None:
    names = [f"{number:064x}" for number in range(CONTAINERS)]
    await node.start()
    runtime.add(*(Container(each, Sandbox(""), f"c{n}") for n, each in enumerate(names)))
    before, began = resident(), time.monotonic()

    made = come_and_go(folder, names[:500])  # while the loop cannot do a thing
    beating = asyncio.create_task(longest_turn())
    made |= await asyncio.to_thread(come_and_go, folder, names[500:])
    beating.cancel()
    assert await beating < 0.5, "the loop has time for others"
    refused, problem = node.watch.refused, str(node.watch.problem)
    assert refused >= 500 - BOUND
    assert f"{refused} cgroups were made faster than they could be told apart" in problem
    async with asyncio.timeout(25):
        while node.pending() or not made.keys().isdisjoint(node.targets.ids()):
            await asyncio.sleep(0.05)
        known = [node.last[each] for each in made if each in node.last]
        assert {owner.kind for owner in known} == {"container"}
        assert all(owner.container_id == made[owner.cgroup_id] for owner in known)
        assert len(made) - len(known) <= node.targets.lost, "whoever is not known is told as lost"
        while node.watch.problem:
            await asyncio.sleep(0.05)
    assert time.monotonic() - began < 30
    assert node.watch.refused == refused, "the total stays"
    assert set(node.gone) >= made.keys() & node.last.keys()
    assert node.most <= CONTAINERS + 1000
    assert resident() - before < 64 * MIB

    after = folder / ("7" * 64)
    runtime.add(Container(after.name, Sandbox(""), "after-7"))
    after.mkdir()
    cgroup_id = after.stat().st_ino
    state = node.watch.node.targets.lookup(struct.pack("=Q", cgroup_id))
    assert state in (struct.pack("=QII", JOB, 1, 0), struct.pack("=QII", JOB, 0, 1)), "it passes"
    async with asyncio.timeout(5):
        while node.last.get(cgroup_id, Owner(0, "pending")).kind == "pending":
            await asyncio.sleep(0.01)
    assert cgroup_id in node.targets.ids()


async def test_kernel_that_does_not_tell_of_cgroups_is_polled(
    node: Node, runtime, folder: Path, compile_bpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _, body = SOURCE.read_text().partition('char LICENSE[] SEC("license") = "GPL";\n')
    assert body
    lacking = (head + body).replace("tp_btf/cgroup_mkdir", "tp_btf/cgroup_made_up")
    monkeypatch.setattr(node.watch, "_path", compile_bpf(lacking))
    monkeypatch.setattr(cgroups, "POLL", 0.1)
    web = "1b" * 32
    runtime.add(Container(web, Sandbox(""), "web-7"))
    await node.start()
    assert "lacks tp_btf/cgroup_made_up" in str(node.watch.problem)
    (folder / web).mkdir()
    cgroup_id = (folder / web).stat().st_ino
    async with asyncio.timeout(15):
        while node.last.get(cgroup_id) != Owner(
            cgroup_id, "container", container="web-7", container_id=web
        ):
            await asyncio.sleep(0.01)
        assert node.watch.node.targets.lookup(struct.pack("=Q", cgroup_id)) is not None
        (folder / web).rmdir()
        while cgroup_id not in node.gone:
            await asyncio.sleep(0.05)
    assert cgroup_id not in node.targets.ids()
