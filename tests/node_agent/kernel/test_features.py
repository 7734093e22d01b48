# SPDX-License-Identifier: Apache-2.0
"""What this kernel offers, found by trying."""

import os
from pathlib import Path

import pytest

from eunomia_agent.kernel import features, hooks
from eunomia_agent.kernel.object import Object

OBJECTS = Path(features.__file__).parents[1] / "objects"
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
    features.probe.cache_clear()
    features.probe()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("section", ["kprobe/do_exit", "fentry/do_exit", "lsm/file_open"])
def test_a_hook_is_missing_for_the_reason_that_its_feature_is(section: str) -> None:
    feature = hooks.NEEDS[section.partition("/")[0]]

    assert hooks.missing(section) == features.probe().missing.get(feature)


def test_a_kind_of_hook_that_nobody_knows_is_missing() -> None:
    assert hooks.missing("struct_ops/x") == "hooks of the kind 'struct_ops' are not known here"


@pytest.mark.parametrize("path", sorted(OBJECTS.glob("*.bpf.o")), ids=lambda path: path.stem)
def test_every_object_that_we_ship_runs_here(path: Path) -> None:
    with Object.open(path) as found:
        assert found.skip_missing() == {}
        found.load()
        assert len(found.attach()) == len(found.programs)
