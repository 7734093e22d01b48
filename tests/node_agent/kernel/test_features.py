# SPDX-License-Identifier: Apache-2.0
"""What this kernel offers, found by trying."""

import os

import pytest

from eunomia_agent.kernel import features, hooks
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.loading import Node, load

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to try BPF programs"),
]


def test_every_feature_is_there_or_says_why_not() -> None:
    found = features.probe()

    assert found.names.isdisjoint(found.missing)
    assert found.names | found.missing.keys() >= set(hooks.NEEDS.values())
    assert all(len(reason) > 10 for reason in found.missing.values())
    assert {"btf", "ringbuf", "tp_btf"} <= found.names


def test_probing_leaves_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    features.lacking.cache_clear()
    features.probe()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("section", ["kprobe/do_exit", "fentry/do_exit", "lsm/file_open"])
def test_a_hook_is_missing_for_the_reason_that_its_feature_is(section: str) -> None:
    feature = hooks.NEEDS[section.partition("/")[0]]

    assert hooks.missing(section) == features.probe().missing.get(feature)


def test_a_kind_of_hook_that_nobody_knows_is_missing() -> None:
    assert hooks.missing("struct_ops/x") == "hooks of the kind 'struct_ops' are not known here"


@pytest.mark.parametrize("name", sorted(Catalogue.load().trackers))
def test_every_tracker_that_we_ship_runs_here_with_all_that_it_can_do(name: str) -> None:
    tracker = Catalogue.load().trackers[name]
    every = {param: found.default for param, found in tracker.params.items()}
    every |= {param: True for param, found in tracker.params.items() if found.type == "bool"}
    with Object.open(OBJECTS / "cgroups.bpf.o") as agent_wide:
        assert agent_wide.skip_missing() == {}
        agent_wide.load()
        hooked = [each for each in agent_wide.programs.values() if "iter/" not in each.section]
        assert len(agent_wide.attach()) == len(hooked)
        for params in ({param: found.default for param, found in tracker.params.items()}, every):
            key = Key(name, tuple(sorted(params.items())), 16 << 20, children=True, pids=(1,))
            node = Node(agent_wide.map("targets"))
            loaded, _ = load(OBJECTS, tracker, key, node, 1 << 30)
            with loaded:
                started = [
                    program
                    for program in loaded.programs.values()
                    if program.autoload and not program.is_iterator
                ]
                assert len(loaded.attach()) == len(started) > 0
