# SPDX-License-Identifier: Apache-2.0
"""Hosts with cgroup v1 alone: the pids controller's hierarchy says whose a process is."""

import asyncio
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eunomia_agent import cgroups
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.object import Object

OBJECTS = Path(cgroups.__file__).parent / "objects"
WEB = "1b" * 32
PIDS = Path("/sys/fs/cgroup/pids")
IDS = """
#include "hierarchy.h"
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u64);
} ids SEC(".maps");
SEC("tp_btf/sched_process_exec")
int BPF_PROG(note, struct task_struct *task)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 id = current_cgroup_id();

	bpf_map_update_elem(&ids, &pid, &id, BPF_ANY);
	return 0;
}
SEC("tp_btf/sched_process_exit")
int BPF_PROG(end, struct task_struct *task)
{
	u32 pid = task->tgid;
	u64 *noted = bpf_map_lookup_elem(&ids, &pid), id = task_cgroup_id(task);

	if (noted && *noted != id)
		bpf_map_delete_elem(&ids, &pid);
	return 0;
}
"""

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads BPF programs"),
]


def pids_number() -> int:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, _ = line.split(":", 2)
        if controllers == "pids":
            return int(number)
    pytest.skip("no v1 hierarchy of the pids controller is mounted here")


@pytest.fixture
def folder() -> Iterator[Path]:
    pids_number()
    place = PIDS / f"eunomia-test-{os.getpid()}"
    place.mkdir()
    yield place
    for each in sorted(place.glob("**/"), reverse=True):
        each.rmdir()


def _id(cgroup: Path) -> int:
    return cgroup.stat().st_ino


def exec_in(cgroup: Path) -> int:
    """Run a program in a cgroup; return what its process id was."""
    script = f"echo 0 > {cgroup}/cgroup.procs; echo $$; exec true"
    return int(subprocess.check_output(["sh", "-c", script]))


@pytest.mark.parametrize("by_pids_controller", [True, False])
def test_process_is_known_by_its_cgroup_in_the_hierarchy_that_is_watched(
    compile_bpf: Callable[..., Path], folder: Path, hierarchy: Path, *, by_pids_controller: bool
) -> None:
    in_v2 = hierarchy / folder.name
    in_v2.mkdir()
    try:
        with Object.open(compile_bpf(IDS)) as loaded:
            loaded.set("cgroup_hierarchy", pids_number() if by_pids_controller else 0)
            loaded.load()
            loaded.attach()
            watched = folder if by_pids_controller else in_v2
            pid = exec_in(watched)
            noted = loaded.map("ids").lookup(struct.pack("=I", pid))
            assert noted == struct.pack("=Q", watched.stat().st_ino)
    finally:
        in_v2.rmdir()


async def test_containers_of_a_host_without_v2_are_followed(runtime, folder: Path) -> None:
    said: list[Owner] = []
    place = _id(folder)
    runtime.add(Container(WEB, Sandbox(""), "web"))
    watch = cgroups.Cgroups(
        OBJECTS, runtime, root=PIDS, on_change=said.append, on_gone=lambda _: None
    )
    try:
        targets = await watch.load()
    except KernelError as error:
        pytest.skip(f"this kernel takes no BPF programs: {error}")
    try:
        assert watch.node.hierarchy == pids_number()
        targets.set_candidates(1)
        await watch.start()
        assert place in [owner.cgroup_id for owner in said]
        (folder / WEB).mkdir()
        cgroup_id = _id(folder / WEB)
        web = Owner(cgroup_id, "container", container="web", container_id=WEB)
        async with asyncio.timeout(5):
            while web not in said:
                await asyncio.sleep(0.01)
        assert watch.node.targets.lookup(struct.pack("=Q", cgroup_id)) is not None, (
            "pending at its mkdir"
        )
        assert watch.problem is None
    finally:
        await watch.close()
