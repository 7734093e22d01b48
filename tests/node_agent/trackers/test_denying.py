# SPDX-License-Identifier: Apache-2.0
"""Of the programs that refuse something, those that a rule needs."""

import struct

import pytest

from eunomia_agent.errors import DenyNotInKernel, DenyUnsupported
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.denying import chosen, telling
from eunomia_agent.trackers.key import Enforcement, Key

if not (OBJECTS / "access.bpf.o").exists():
    pytest.skip("needs the objects that the build compiles", allow_module_level=True)

ACCESS = Catalogue.load().trackers["access"]
BTF = Btf.of_object((OBJECTS / "access.bpf.o").read_bytes())
OPEN, CREATE, PIVOT = 1, 2, 13


def needed(least: int, most: int, **missing: str) -> set[str]:
    """Return the hooks for kinds from one to another, on a kernel that lacks some."""
    conditions = (("where_kind", struct.pack("=2q", least, most)),)
    key = Key("access", (), 0, conditions, enforcement=Enforcement.DENY)
    lacking = {f"lsm/{hook}": reason for hook, reason in missing.items()}
    return {section.removeprefix("lsm/") for section in chosen(ACCESS, key, BTF, lacking)}


def test_only_those_run_that_refuse_what_the_rule_is_about() -> None:
    assert needed(OPEN, OPEN) == {"file_open"}
    assert needed(OPEN, CREATE) == {"file_open", "path_mknod", "path_mkdir"}
    key = Key("access", (), 0, enforcement=Enforcement.DENY)
    assert chosen(ACCESS, key, BTF, {}) == ACCESS.denies.keys()
    assert telling(ACCESS).isdisjoint(ACCESS.denies)


def test_a_rule_about_nothing_that_can_be_refused_says_so() -> None:
    with pytest.raises(DenyNotInKernel, match="access: nothing that the rule is about can be"):
        needed(PIVOT + 1, 99)


def test_a_hook_that_is_missing_is_named_where_it_is_needed() -> None:
    assert needed(OPEN, OPEN, path_mkdir="not there") == {"file_open"}
    with pytest.raises(DenyUnsupported) as told:
        needed(OPEN, CREATE, file_open="not there", path_mkdir="nor this")

    assert (
        str(told.value)
        == "access cannot deny here: lsm/file_open: not there; lsm/path_mkdir: nor this"
    )
