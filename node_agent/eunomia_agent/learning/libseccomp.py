# SPDX-License-Identifier: Apache-2.0
"""Compiles seccomp profiles with the distribution's libseccomp.so.2, as container runtimes do.

Source: seccomp_init(3) and the other pages of libseccomp; runc's libcontainer/seccomp. Fields of a
profile: config-linux.md of the OCI runtime specification, "Seccomp".
"""

import ctypes
import errno
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any, BinaryIO

from eunomia_agent.errors import AgentError

LIBRARY = "libseccomp.so.2"
_ARCHITECTURES = {
    "SCMP_ARCH_X86": b"x86",
    "SCMP_ARCH_X86_64": b"x86_64",
    "SCMP_ARCH_X32": b"x32",
    "SCMP_ARCH_ARM": b"arm",
    "SCMP_ARCH_AARCH64": b"aarch64",
}
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_OPERATORS = {
    f"SCMP_CMP_{name}": number
    for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
_NO_SUCH_CALL = -1
_ACT_BADARCH, _CTL_NNP = 2, 3
MAX_NAMES = 2048
MAX_ARGUMENTS = 6


class ProfileInvalid(AgentError):
    """A profile cannot be compiled; the message says which part, and why."""


class LibseccompMissing(AgentError):
    """libseccomp is not installed here."""


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (("arg", c_uint), ("op", c_int), ("a", c_uint64), ("b", c_uint64))


@cache
def _library() -> ctypes.CDLL:
    try:
        found = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError:
        raise LibseccompMissing(
            f"{LIBRARY} is not installed: on Debian and Ubuntu, apt-get install libseccomp2"
        ) from None
    found.seccomp_init.restype = c_void_p
    found.seccomp_init.argtypes = [c_uint32]
    found.seccomp_release.argtypes = [c_void_p]
    found.seccomp_arch_resolve_name.restype = c_uint32
    found.seccomp_arch_resolve_name.argtypes = [c_char_p]
    found.seccomp_arch_add.argtypes = [c_void_p, c_uint32]
    found.seccomp_arch_remove.argtypes = [c_void_p, c_uint32]
    found.seccomp_attr_set.argtypes = [c_void_p, c_int, c_uint32]
    found.seccomp_syscall_resolve_name.argtypes = [c_char_p]
    found.seccomp_syscall_resolve_name_rewrite.argtypes = [c_uint32, c_char_p]
    found.seccomp_rule_add_array.argtypes = [c_void_p, c_uint32, c_int, c_uint, c_void_p]
    found.seccomp_export_bpf.argtypes = [c_void_p, c_int]
    found.seccomp_load.argtypes = [c_void_p]
    return found


def unknown(names: Sequence[str]) -> list[str]:
    """Return the calls that this libseccomp does not know, and thus leaves out of a filter."""
    resolve = _library().seccomp_syscall_resolve_name
    return [name for name in names if resolve(name.encode()) == _NO_SUCH_CALL]


def compile_profile(profile: Mapping[str, Any]) -> bytes:
    """Return the filter that a profile makes: instructions of classic BPF, of 8 bytes each.

    What libseccomp does not know is passed over, as runtimes do it: see `unknown`. Raises
    ProfileInvalid, LibseccompMissing.
    """
    with _filter(profile) as context, _memory() as file:
        _check(_library().seccomp_export_bpf(context, file.fileno()), "cannot be compiled")
        file.seek(0)
        return file.read()


def load_profile(profile: Mapping[str, Any]) -> None:
    """Put a profile on this thread and all that it starts; it cannot be taken off again.

    No process under it gains privileges by an exec any more: PR_SET_NO_NEW_PRIVS. Raises
    ProfileInvalid, LibseccompMissing.
    """
    with _filter(profile) as context:
        _check(_library().seccomp_attr_set(context, _CTL_NNP, 1), "cannot be loaded")
        _check(_library().seccomp_load(context), "is not taken by the kernel")


@contextmanager
def _memory() -> Generator[BinaryIO]:
    """Give a file that no disk is needed for: an agent may write nowhere."""
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        yield file


@contextmanager
def _filter(profile: Mapping[str, Any]) -> Generator[int]:
    default = _action(profile, profile.get("defaultAction"), profile.get("defaultErrnoRet"))
    context = _library().seccomp_init(default)
    if not context:
        raise ProfileInvalid("the profile's defaultAction is none that libseccomp takes")
    try:
        # What the profile does not list is refused like any other call, instead of killed.
        _check(_library().seccomp_attr_set(context, _ACT_BADARCH, default), "has a bad default")
        _add_architectures(context, _list(profile, "architectures"))
        for rule in _list(profile, "syscalls"):
            _add_rule(context, rule, default)
        yield context
    finally:
        _library().seccomp_release(context)


def _add_architectures(context: int, names: Sequence[Any]) -> None:
    native = _library().seccomp_arch_resolve_name(os.uname().machine.encode())
    wanted: list[int] = []
    for name in names:
        if not isinstance(name, str) or name not in _ARCHITECTURES:
            known = ", ".join(_ARCHITECTURES)
            raise ProfileInvalid(f"architecture {name!r:.60} is not known; there are: {known}")
        wanted.append(_library().seccomp_arch_resolve_name(_ARCHITECTURES[name]))
    for token in wanted:
        result = _library().seccomp_arch_add(context, token)
        if result != -errno.EEXIST:
            _check(result, "names an architecture that libseccomp does not take")
    if wanted and native not in wanted:
        _check(_library().seccomp_arch_remove(context, native), "lists no architecture")


def _list(where: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = where.get(key) or []
    if not isinstance(found, list):
        raise ProfileInvalid(f"the profile's {key} are no list: {found!r:.100}")
    return found


def _add_rule(context: int, rule: Any, default: int) -> None:
    names: Any = rule.get("names") if isinstance(rule, Mapping) else None
    if not _are_names(names):
        raise ProfileInvalid(f"a rule has no list of at most {MAX_NAMES} names: {rule!r:.100}")
    action = _action(rule, rule.get("action"), rule.get("errnoRet"))
    if action == default:
        return  # libseccomp refuses what would change nothing
    arguments = [_comparison(each) for each in _list(rule, "args")]
    array = (_Comparison * len(arguments))(*arguments)
    for name in names:
        number = _library().seccomp_syscall_resolve_name(name.encode(errors="replace"))
        if number == _NO_SUCH_CALL:
            continue
        result = _library().seccomp_rule_add_array(context, action, number, len(array), array)
        _check(result, f"has a rule for {name!r:.60} that libseccomp does not take")


def _are_names(found: Any) -> bool:
    some = isinstance(found, list) and len(found) <= MAX_NAMES
    return some and all(isinstance(name, str) for name in found)


def _comparison(found: Any) -> _Comparison:
    told: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    operator = _OPERATORS.get(str(told.get("op")))
    numbers = told.get("index"), told.get("value", 0), told.get("valueTwo", 0)
    bounds = (MAX_ARGUMENTS, 1 << 64, 1 << 64)
    if operator is None or not all(map(_is_number, numbers, bounds)):
        raise ProfileInvalid(
            f"an argument of a rule needs an index below {MAX_ARGUMENTS}, a value of 64 bits and "
            f"one of {', '.join(_OPERATORS)} as op: {found!r:.100}"
        )
    return _Comparison(numbers[0], operator, *numbers[1:])


def _is_number(found: Any, bound: int) -> bool:
    return type(found) is int and 0 <= found < bound  # True is an int, too


def _action(where: Mapping[str, Any], name: Any, number: Any) -> int:
    if not isinstance(name, str) or name not in _ACTIONS:
        raise ProfileInvalid(f"action {name!r:.60} is not known; there are: {', '.join(_ACTIONS)}")
    if name != "SCMP_ACT_ERRNO":
        return _ACTIONS[name]
    if number is not None and not _is_number(number, 1 << 16):
        raise ProfileInvalid(f"{number!r:.60} is no number of an error")
    return _ACTIONS[name] | (errno.EPERM if number is None else number)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise ProfileInvalid(f"the profile {what}: {os.strerror(-result)}")
