# SPDX-License-Identifier: Apache-2.0
"""The whole way: the kernel's programs, a real containerd, and owners of short lives."""

import asyncio
import os
import struct
from pathlib import Path

import pytest

from eunomia_agent import cgroups
from eunomia_agent.containers.cri import CriClient
from eunomia_agent.containers.owner import Owner
from eunomia_agent.kernel.errors import KernelError

OBJECTS = Path(cgroups.__file__).parent / "objects"
LABELS = {"app": "batch"}
JOBS, PENDING = 0b1, 1

pytestmark = pytest.mark.bpf


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads BPF programs")
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
                "localhost/eunomia-test:1",
                LABELS,
            )
        assert owners_of(pod)[-1].kind == "sandbox"

        ids = [owners_of(each)[-1].cgroup_id for each in (pod, *names)]
        keys = [struct.pack("=Q", cgroup_id) for cgroup_id in ids]
        passing = struct.pack("=QII", JOBS, PENDING, 0)
        assert [watch.map.lookup(key) for key in keys] == [passing] * 6, "from their first moment"
        before = targets.classified
        for cgroup_id in ids:
            targets.set(cgroup_id, 0, inherit=False)
        assert [watch.map.lookup(key) for key in keys] == [None] * 6
        assert targets.classified - before == 6, "each has given its place back"
        async with asyncio.timeout(10):
            while not set(gone).issuperset(ids):
                await asyncio.sleep(0.05)
    finally:
        await watch.close()
        await client.close()
