# SPDX-License-Identifier: Apache-2.0
"""Every tracker under the kernel that runs: it loads, uses the best hooks there are, and counts.

`make kernels` runs this under other kernels as well, which offer fexit and kprobes.
"""

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eunomia_agent.kernel import hooks
from eunomia_agent.kernel.chain import Chain
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers import loading
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue, Tracker
from eunomia_agent.trackers.filter import ENDS, FAILS, PASSES, Filter, Question
from eunomia_agent.trackers.filter import USED as FILTERS
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Enforcement, Key
from eunomia_agent.trackers.limit import Limit
from eunomia_agent.trackers.loading import Node
from eunomia_agent.trackers.paths import PathSet, path_columns
from eunomia_agent.trackers.support import lacks

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
TRACKERS = Catalogue.load().trackers
SLOT = 0


@pytest.fixture
def node() -> Iterator[Node]:
    with Object.open(OBJECTS / "cgroups.bpf.o") as programs:
        programs.load()
        chain = Chain(OBJECTS / "calls.bpf.o")
        yield Node(programs.map("targets"), chain=chain)
        chain.close()


def key_of(tracker: Tracker) -> Key:
    params = {name: param.default for name, param in tracker.params.items()}
    return Key(tracker.name, tuple(sorted(params.items())), 16 << 20, interval_ms=1000)


def run_in(cgroup: Path, call: Callable[[], object]) -> None:
    """Run a function in a child that is in a cgroup."""
    child = os.fork()
    if not child:
        (cgroup / "cgroup.procs").write_text("0")
        call()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def take_note(number: int, frame: object) -> None:
    """Go on as if no signal had come."""


def do_a_little_of_everything() -> None:
    """One of each thing that the trackers see, by this process and a child."""
    subprocess.run(["/bin/true"], check=True)
    Path("/proc/self/comm").read_text()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        end, _ = server.accept()
        client.send(b"x")
        end.recv(1)
        end.close()
        client.close()
    here, there = os.pipe()
    os.write(there, b"y")
    os.read(here, 1)
    os.close(here)
    os.close(there)
    before = signal.signal(signal.SIGUSR1, take_note)
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    os.close(os.memfd_create("in memory"))
    os.nice(-1)  # asks for CAP_SYS_NICE


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_tracker_runs_with_the_best_hooks_of_this_kernel(
    name: str, node: Node, cgroup: Path
) -> None:
    tracker = TRACKERS[name]
    if reasons := lacks(tracker):
        pytest.skip(f"this kernel cannot run {name}: {reasons}")
    instance = Instance.load(OBJECTS, tracker, key_of(tracker), node)
    try:
        instance.join(SLOT, Limit(), everywhere=True)
        instance.attach()
        run_in(cgroup, do_a_little_of_everything)
        seen = sum(rows.weight for rows in (*instance.drain(), *instance.take()))
        lost = sum(each.lost for each in instance.accounts.all().get(SLOT, {}).values())
    finally:
        instance.retire()()

    assert seen > 0
    assert lost == 0


def with_everything(tracker: Tracker, *, most: bool = True) -> Key:
    """Return a key with every option and condition, each of the most or least that it may be.

    Each is a constant to the verifier: what they switch on is checked only then.
    """
    params: dict[str, bool | int | str] = {}
    for param, about in tracker.params.items():
        if about.type == "bool":
            params[param] = True
        elif about.type == "string":
            params[param] = "/" * (about.max_length or 1)
        else:
            edge = about.max if most else about.min
            params[param] = about.default if edge is None else edge
    columns = {column.name for column in tracker.columns if column.filterable} - {"comm"}
    with Object.open(OBJECTS / f"{tracker.name}.bpf.o") as compiled:
        paths = path_columns(compiled.btf)
        sizes = {name: len(content) for name, content in compiled.variables.items()}
    conditions = {
        name: struct.pack("=2q", 1, 1 << 31)[: sizes[name]]  # of flags, some that are asked for
        for name in (f"where_{column}" for column in columns - paths.keys())
    }
    conditions["where_comm"] = struct.pack("=2I16s", 4, most, b"bash")
    some = PathSet(frozenset({b"/etc/"}), frozenset({b"shadow"}))
    for column in set(paths.values()):
        others = frozenset(name for name in paths if paths[name] == column != name)
        conditions |= replace(some, others=others).variables(column)
    if FILTERS in sizes:
        conditions |= Filter(((Question(ENDS, 0, text=b"/x"), PASSES, FAILS),)).variables("")
    return replace(
        key_of(tracker),
        params=tuple(sorted(params.items())),
        conditions=tuple(sorted(conditions.items())),
        pids=(os.getpid(),),
        children=True,
    )


@pytest.mark.parametrize("most", [False, True])
@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_tracker_loads_with_every_option_and_condition(name: str, most: bool, node: Node) -> None:
    tracker = TRACKERS[name]
    if reasons := lacks(tracker):
        pytest.skip(f"this kernel cannot run {name}: {reasons}")

    instance = Instance.load(OBJECTS, tracker, with_everything(tracker, most=most), node)
    loaded = set(instance.sections)
    instance.retire()()

    assert set(tracker.hooks) <= loaded
    assert {section for section in tracker.programs if not hooks.missing(section)} <= loaded
    assert not tracker.denies.keys() & loaded


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_tracker_loads_to_kill_with_every_option_and_condition(
    name: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = TRACKERS[name]
    monkeypatch.setattr(loading, "cgroup_of", lambda pid, root: 1)  # it need be in none here
    if reasons := lacks(tracker):
        pytest.skip(f"this kernel cannot run {name}: {reasons}")
    key = replace(with_everything(tracker), enforcement=Enforcement.KILL)

    instance = Instance.load(OBJECTS, tracker, key, node)
    loaded = set(instance.sections)
    instance.retire()()

    assert set(tracker.hooks) <= loaded


@pytest.mark.parametrize("name", sorted(n for n, tracker in TRACKERS.items() if tracker.denies))
def test_what_refuses_loads_with_every_option_and_condition(
    name: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = TRACKERS[name]
    monkeypatch.setattr(loading, "cgroup_of", lambda pid, root: 1)  # it need be in none here
    if reason := hooks.missing("lsm/file_open"):
        pytest.skip(f"this kernel refuses nothing for us: {reason}")
    key = replace(with_everything(tracker), enforcement=Enforcement.DENY)

    instance = Instance.load(OBJECTS, tracker, key, node)
    loaded = set(instance.sections)
    instance.retire()()

    assert tracker.denies.keys() <= loaded
    assert not {*tracker.hooks, *(each for group in tracker.any_of for each in group)} & loaded


@pytest.mark.parametrize("name", sorted(n for n, tracker in TRACKERS.items() if tracker.any_of))
def test_of_hooks_that_do_the_same_the_first_that_the_kernel_has_are_used(
    name: str, node: Node
) -> None:
    tracker = TRACKERS[name]
    if lacks(tracker):
        pytest.skip(f"this kernel has none of the hooks of {name}")
    best = next(g for g in tracker.any_of if not any(hooks.missing(hook) for hook in g))
    others = {hook for group in tracker.any_of for hook in group} - set(best)
    instance = Instance.load(OBJECTS, tracker, key_of(tracker), node)
    try:
        loaded = set(instance.sections)
    finally:
        instance.retire()()

    off = {section for section, params in tracker.programs.items() if section in best and params}
    assert set(best) - off <= loaded
    assert not others & loaded


def test_ids_of_cgroups_are_those_of_the_tree(node: Node, cgroup: Path) -> None:
    """What the kernel calls a cgroup is the inode of its folder."""
    tracker = TRACKERS["process"]
    instance = Instance.load(OBJECTS, tracker, key_of(tracker), node)
    try:
        instance.join(SLOT, Limit(), everywhere=True)
        instance.attach()
        run_in(cgroup, do_a_little_of_everything)
        ids = {int(each) for rows in instance.drain() for each in rows.fixed["cgroup_id"]}
    finally:
        instance.retire()()

    assert cgroup.stat().st_ino in ids
