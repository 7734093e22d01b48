# SPDX-License-Identifier: Apache-2.0
"""The whole way: the kernel's programs, a real containerd, and owners of short lives."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eunomia_agent import cgroups
from eunomia_agent.containers.cri import CriClient
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.kernel.errors import KernelError

OBJECTS = Path(cgroups.__file__).parent / "objects"
LABELS = {"app": "batch"}
JOBS, PENDING = 0b1, 1

FIRST = bytes(4)

pytestmark = pytest.mark.bpf
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads BPF programs")


def pending(watch: cgroups.Cgroups) -> int:
    """Places that are taken: as the kernel counts them, less those that were given back."""
    assert watch._object is not None
    maps = [watch._object.map(f"pending_{name}") for name in ("count", "limit")]
    count, limit = (each.lookup(FIRST) for each in maps)
    created, _, _ = struct.unpack("=3Q", count)
    _, classified, _ = struct.unpack("=3Q", limit)
    return (created - classified) % 2**64


class Node:
    """The programs, and an agent's answers to what the index says."""

    targets: Targets

    def __init__(self) -> None:
        self.said: list[Owner] = []
        self.watch = cgroups.Cgroups(
            OBJECTS, None, root=None, on_change=self.meet, on_gone=self.gone
        )

    def meet(self, owner: Owner) -> None:
        self.said.append(owner)
        if owner.kind == "pending":
            self.targets.pend(owner.cgroup_id)
        else:
            self.targets.set(owner.cgroup_id, 0, inherit=False)

    def gone(self, cgroup_id: int) -> None:
        self.targets.delete(cgroup_id)

    async def until_at_rest(self, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while pending(self.watch) or self.targets.ids():
                await asyncio.sleep(0.05)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node with one job that any cgroup might belong to, and none does."""
    node = Node()
    try:
        node.targets = await node.watch.load()
    except KernelError as error:
        pytest.skip(f"this kernel takes no BPF programs: {error}")
    node.targets.set_candidates(JOBS)
    yield node
    await node.watch.close()


@needs_root
async def test_records_of_the_kernel_are_understood_and_ask_for_no_scan(
    node: Node, hierarchy: Path
) -> None:
    await node.watch.start()
    known = {owner.cgroup_id for owner in node.said}
    place = hierarchy / f"eunomia-test-{os.getpid()}-told"
    place.mkdir()
    try:
        cgroup_id = place.stat().st_ino
        async with asyncio.timeout(5):
            while Owner(cgroup_id, "host") not in node.said:
                await asyncio.sleep(0.01)
    finally:
        place.rmdir()
    assert cgroup_id not in known
    assert node.watch._index is not None
    assert not node.watch._index._scan_due.is_set()
    assert node.watch._drain is not None
    assert node.watch._drain.malformed == 0
    assert node.watch.problem is None


@needs_root
async def test_thousand_cgroups_of_a_moment_leave_no_entry_and_take_no_place(
    node: Node, hierarchy: Path
) -> None:
    await node.watch.start()
    for number in range(1000):
        place = hierarchy / f"eunomia-test-{os.getpid()}-{number}"
        place.mkdir()
        place.rmdir()
        if number % 100 == 0:
            await asyncio.sleep(0)
    await node.until_at_rest()
    place.mkdir()
    state = node.watch.node.targets.lookup(struct.pack("=Q", place.stat().st_ino))
    place.rmdir()
    assert state in (None, struct.pack("=QII", JOBS, PENDING, 0)), "the next one is not refused"


@needs_root
async def test_cgroups_whose_records_were_lost_leave_no_entry_either(
    node: Node, hierarchy: Path
) -> None:
    """Their paths are long, so that the ring, which nobody reads, is full after 400 records."""
    parents = [hierarchy / f"eunomia-test-{os.getpid()}"]
    while len(parents) < 10:
        parents.append(parents[-1] / ("x" * 240))
    for parent in parents:
        parent.mkdir()
    try:
        for number in range(1000):
            (parents[-1] / str(number)).mkdir()
            (parents[-1] / str(number)).rmdir()
        assert node.targets.lost > 1000
        assert pending(node.watch) == 256
        assert len(node.targets.ids()) > 1000, "pending and refused ones"
        await node.watch.start()
        await node.until_at_rest()
        assert "were made faster than they could be told apart" in str(node.watch.problem)
    finally:
        for parent in reversed(parents):
            parent.rmdir()


@needs_root
async def test_containers_that_live_a_moment_pass_as_pending_and_get_their_names(
    containerd,
) -> None:
    said: dict[int, list[Owner]] = {}
    gone: list[int] = []
    client = CriClient(containerd.socket)
    watch = cgroups.Cgroups(
        OBJECTS,
        client,
        root=None,
        on_change=lambda owner: said.setdefault(owner.cgroup_id, []).append(owner),
        on_gone=gone.append,
    )
    try:
        targets = await watch.load()
    except KernelError as error:
        pytest.skip(f"this kernel takes no BPF programs: {error}")
    try:
        targets.set_candidates(JOBS)
        await watch.start()
        uid = f"0f8a6b0e-1c2d-4e3f-8a9b-{os.getpid():012x}"
        pod = await containerd.run_pod("shop", "batch-0", uid, LABELS)
        names = {await containerd.run_container(pod, f"c{n}", "end"): f"c{n}" for n in range(5)}

        def owners_of(container_id: str) -> list[Owner]:
            return next(
                (told for told in said.values() if told[-1].container_id == container_id), []
            )

        async with asyncio.timeout(10):
            while not all(
                owners_of(each) and owners_of(each)[-1].kind != "pending" for each in (pod, *names)
            ):
                await asyncio.sleep(0.02)
        await containerd.remove_pods()  # as the kubelet does, later than a container's end
        for container_id, name in names.items():
            first, last = owners_of(container_id)
            assert first.kind == "pending"
            assert last == Owner(
                last.cgroup_id,
                "container",
                "shop",
                "batch-0",
                uid,
                name,
                container_id,
                LABELS,
                image=last.image,
            )
            assert last.image.startswith("sha256:"), "as it was asked for"
        assert owners_of(pod)[-1].kind == "sandbox"

        ids = [owners_of(each)[-1].cgroup_id for each in (pod, *names)]
        keys = [struct.pack("=Q", cgroup_id) for cgroup_id in ids]
        passing = struct.pack("=QII", JOBS, PENDING, 0)
        assert [watch.node.targets.lookup(key) for key in keys] == [passing] * 6, (
            "from their first moment"
        )
        before = pending(watch)
        for cgroup_id in ids:
            targets.set(cgroup_id, 0, inherit=False)
        assert [watch.node.targets.lookup(key) for key in keys] == [None] * 6
        assert before - pending(watch) == 6, "each has given its place back"
        async with asyncio.timeout(10):
            while not set(gone).issuperset(ids):
                await asyncio.sleep(0.05)
    finally:
        await watch.close()
        await client.close()
