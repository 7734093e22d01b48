# SPDX-License-Identifier: Apache-2.0
"""Profiles, compiled as a container runtime compiles them."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable
from typing import Any

import pytest

from eunomia_agent.learning import libseccomp
from eunomia_agent.learning.calls import COMPAT, OWN
from eunomia_agent.learning.libseccomp import ProfileInvalid, compile_profile, load_profile, unknown
from eunomia_api.profile import ABIS, profile

try:
    ctypes.CDLL(libseccomp.LIBRARY)
except OSError:
    pytest.skip("needs libseccomp.so.2", allow_module_level=True)

HERE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[platform.machine()]
TOKENS = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


JUMPS: dict[int, Callable[[int, int], object]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: a & k,
}


def judged(code: bytes, architecture: str, number: int, *arguments: int) -> int:
    """Run a filter as the kernel does: the part of classic BPF that libseccomp makes."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, TOKENS[architecture], 0, *values)
    program = list(struct.iter_unpack("<HBBI", code))
    at = a = 0
    while program[at][0] != 0x06:
        operation, yes, no, k = program[at]
        at += 1
        if operation == 0x20:
            (a,) = struct.unpack_from("<I", data, k)
        elif operation == 0x54:
            a &= k
        elif operation == 0x05:
            at += k
        else:
            at += yes if JUMPS[operation](a, k) else no
    return int(program[at][3])


def number(name: str, table: Any = OWN) -> int:
    return next(number for number, each in table.items() if each == name)


@pytest.mark.parametrize("machine", sorted(ABIS))
def test_a_learned_profile_is_right_for_every_abi_that_it_lists(machine: str) -> None:
    from eunomia_agent.events.syscalls import table
    from eunomia_agent.learning.calls import compat_table

    uname = {"SCMP_ARCH_X86_64": "x86_64", "SCMP_ARCH_AARCH64": "aarch64"}[machine]
    own, compat = table(uname), compat_table(uname)
    code = compile_profile(profile(["openat", "mmap2", "statx"], ABIS[machine]))

    for name, expected in {"openat": ALLOW, "statx": ALLOW, "mount": EPERM}.items():
        assert judged(code, machine, number(name, own)) == expected
        assert judged(code, ABIS[machine][1], number(name, compat)) == expected
    assert judged(code, ABIS[machine][1], number("mmap2", compat)) == ALLOW


def test_the_runtimes_default_looks_at_arguments() -> None:
    code = compile_profile(profile([], ABIS[HERE], base="RuntimeDefault"))
    clone, vsock, inet = number("clone"), 40, 2

    assert judged(code, HERE, clone, 0x11) == ALLOW
    assert judged(code, HERE, clone, 0x10000000 | 0x11) == EPERM  # CLONE_NEWUSER
    assert judged(code, HERE, number("clone3")) == ENOSYS
    assert judged(code, HERE, number("socket"), inet) == ALLOW
    assert judged(code, HERE, number("socket"), vsock) == EPERM
    assert judged(code, HERE, number("personality"), 0x20008) == ALLOW
    assert judged(code, HERE, number("personality"), 0x40000) == EPERM  # ADDR_NO_RANDOMIZE
    assert judged(code, HERE, number("unshare")) == EPERM


def test_which_calls_libseccomp_does_not_know_is_said() -> None:
    assert unknown(["read", "no_such_call", "mount"]) == ["no_such_call"]
    assert compile_profile(profile(["no_such_call"], [HERE]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["SCMP_ARCH_PDP11"]}, "'SCMP_ARCH_PDP11' is not known"),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "'SCMP_ACT_MAYBE' is not known"),
        ({"syscalls": [{"names": "read", "action": "SCMP_ACT_ALLOW"}]}, "no list"),
        ({"syscalls": ["read"]}, "no list"),
        ({"syscalls": 5}, "syscalls are no list: 5"),
        ({"architectures": 5}, "architectures are no list: 5"),
        ({"architectures": [["x"]]}, "is not known"),
        ({"defaultAction": {}}, "is not known"),
        ({"syscalls": [{"names": [{}], "action": "SCMP_ACT_ALLOW"}]}, "no list"),
        ({"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": 5}]}, "no list: 5"),
        ({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": -1}]}, "-1"),
        (
            {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"op": 1}]}]},
            "needs an index below 6",
        ),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileInvalid, match=message):
        compile_profile(profile(["read"], [HERE]) | change)


@pytest.mark.parametrize("wrong", [-1, 2**64, float("inf"), 1.5, "2", True, None])
@pytest.mark.parametrize("key", ["index", "value", "valueTwo"])
def test_a_number_beside_its_bounds_is_refused_and_never_becomes_another(
    key: str, wrong: Any
) -> None:
    argument = {"index": 0, "value": 2, "op": "SCMP_CMP_MASKED_EQ", key: wrong}
    rule = {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [argument]}
    with pytest.raises(ProfileInvalid, match="a value of 64 bits"):
        compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})


@pytest.mark.parametrize(("key", "most"), [("index", 5), ("value", 2**64 - 1)])
def test_a_number_at_its_bound_is_taken(key: str, most: int) -> None:
    argument = {"index": 0, "op": "SCMP_CMP_EQ", key: most}
    rule = {"names": ["sendto"], "action": "SCMP_ACT_ALLOW", "args": [argument]}
    code = compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})
    values = [0] * 6
    values[argument["index"]] = int(str(argument.get("value", 0)))
    assert judged(code, HERE, number("sendto"), *values) == ALLOW
    assert judged(code, HERE, number("sendto"), *[7] * 6) == EPERM


def forked(function: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(function())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_profile_that_is_loaded_refuses_what_it_does_not_name(tmp_path: Any) -> None:
    everything = set(OWN.values()) | set(COMPAT.values())
    found = profile(everything - {"mkdir", "mkdirat"}, ABIS[HERE])

    def try_it() -> int:
        load_profile(found)
        try:
            os.mkdir(tmp_path / "refused")
        except PermissionError:
            return 7
        return 0

    assert forked(try_it) == 7
    assert list(tmp_path.iterdir()) == []
