# SPDX-License-Identifier: Apache-2.0
"""Programs that the kernel runs over all of its objects of a kind, when it is asked to."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from eunomia_agent.kernel import hooks
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.object import Object

Compile = Callable[..., Path]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to load BPF programs")
pytestmark = [pytest.mark.bpf, needs_root]

SEEN = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096);
     __type(key, u64); __type(value, u64); } seen SEC(".maps");
static __always_inline int note(u64 id)
{
    u64 once = 1, *times = bpf_map_lookup_elem(&seen, &id);
    if (times)
        __sync_fetch_and_add(times, 1);
    else
        bpf_map_update_elem(&seen, &id, &once, BPF_ANY);
    return 0;
}
"""
PROCESSES = (
    SEEN
    + """
SEC("iter/task")
int walk(struct bpf_iter__task *context)
{
    struct task_struct *task = context->task;
    return task ? note(task->tgid) : 0;
}
SEC("tp_btf/sched_process_exit")
int ended(void *arguments) { return 0; }
"""
)
CGROUPS = (
    SEEN
    + """
SEC("iter/cgroup")
int walk(struct bpf_iter__cgroup *context)
{
    struct cgroup *cgroup = context->cgroup;
    return cgroup ? note(cgroup->kn->id) : 0;
}
"""
)


@pytest.fixture
def tree(make_cgroup: Callable[..., Path]) -> Path:
    """A cgroup with another one in it."""
    outer = make_cgroup("walk")
    make_cgroup("inner", parent=outer)
    return outer


def seen(tracker: Object) -> dict[int, int]:
    return {
        struct.unpack("=Q", key)[0]: struct.unpack("=Q", value)[0]
        for key, value in tracker.map("seen").items()
    }


def test_an_iterator_runs_when_asked_and_is_not_attached_to_anything(compile_bpf: Compile) -> None:
    with Object.open(compile_bpf(PROCESSES)) as tracker:
        tracker.load()
        assert len(tracker.attach()) == 1  # the tracepoint
        assert seen(tracker) == {}

        tracker.run_iterators()
        assert seen(tracker)[os.getpid()] >= 1


def test_a_walk_over_cgroups_begins_where_it_is_told_and_sees_each_once(
    compile_bpf: Compile, tree: Path
) -> None:
    below = {path.stat().st_ino for path in (tree, tree / "inner")}
    with Object.open(compile_bpf(CGROUPS)) as tracker:
        tracker.load()
        tracker.run_iterators(tree)
        assert seen(tracker) == dict.fromkeys(below, 1)
        tracker.run_iterators(tree)
        assert seen(tracker) == dict.fromkeys(below, 2)


def test_a_walk_over_cgroups_that_is_told_nothing_sees_the_whole_namespace(
    compile_bpf: Compile, tree: Path
) -> None:
    with Object.open(compile_bpf(CGROUPS)) as tracker:
        tracker.load()
        tracker.run_iterators()
        wanted = {path.stat().st_ino for path in (tree.parent, tree, tree / "inner")}
        assert wanted <= seen(tracker).keys()


def test_a_kernel_without_an_iterator_says_so() -> None:
    assert hooks.missing("iter/cgroup") is None
    assert hooks.missing("iter/comet") == "the kernel has no iterator over comet"


def test_nothing_of_a_walk_is_left_open(compile_bpf: Compile, tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Object.open(compile_bpf(CGROUPS)) as tracker:
        tracker.load()
        for _ in range(3):
            tracker.run_iterators(tree)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_walk_from_what_is_no_cgroup_says_where(compile_bpf: Compile, tmp_path: Path) -> None:
    with Object.open(compile_bpf(CGROUPS)) as tracker:
        tracker.load()
        with pytest.raises(KernelError, match="program walk of test cannot be made ready"):
            tracker.run_iterators(tmp_path)
        with pytest.raises(KernelError, match=f"{tmp_path}/none cannot be opened: No such file"):
            tracker.run_iterators(tmp_path / "none")
