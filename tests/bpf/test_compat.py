# SPDX-License-Identifier: Apache-2.0
"""The numbers in compat.h are those of the same calls in the kernel's two tables."""

import re
from pathlib import Path

from eunomia_agent.events import syscalls
from eunomia_agent.learning.calls import compat_table

HEADER = Path(__file__).parents[2] / "bpf/include/compat.h"
OWN = syscalls.table("x86_64")
RENAMED = {
    "_llseek": "lseek",
    "_newselect": "select",
    "fadvise64_64": "fadvise64",
    "fstatat64": "newfstatat",
    "mmap2": "mmap",
    "oldfstat": "fstat",
    "oldlstat": "lstat",
    "oldolduname": "uname",
    "oldstat": "stat",
    "olduname": "uname",
    "readdir": "getdents",
    "stime": "settimeofday",
    "ugetrlimit": "getrlimit",
    "umount": "umount2",
    "waitpid": "wait4",
} | {
    name: f"rt_{name}"
    for name in ("sigaction", "sigpending", "sigprocmask", "sigreturn", "sigsuspend")
}
RENAMED["signal"] = "rt_sigaction"
WITHOUT = {
    *("break", "stty", "gtty", "nice", "ftime", "prof", "lock", "mpx", "ulimit", "sgetmask"),
    *("ssetmask", "profil", "socketcall", "idle", "vm86old", "ipc", "bdflush", "vm86"),
}
"""What 64-bit programs have no call for, or several."""


def listed(name: str) -> list[int]:
    found = re.search(rf"{name}\[\d+\][^{{]*{{([^}}]*)}}", HEADER.read_text())
    assert found
    return [int(number) for number in found[1].replace(",", " ").split()]


def constant(name: str) -> int:
    found = re.search(rf"{name} = (\d+)", HEADER.read_text())
    assert found
    return int(found[1])


def is_same(old: str, own: str) -> bool:
    return own in (old, RENAMED.get(old)) or re.fullmatch(f"{own}(32|64|_time64)", old) is not None


def test_every_call_of_32_bit_programs_has_the_number_of_the_same_call() -> None:
    old, numbers = compat_table("x86_64"), listed("compat_numbers")
    missing = {old[at] for at, number in enumerate(numbers) if number < 0 and at in old}

    assert (len(numbers), missing) == (424, WITHOUT)
    for at, number in enumerate(numbers):
        if number >= 0:
            assert is_same(old[at], OWN[number]), at
    assert all(old[at] == OWN[at] for at in old if at >= len(numbers))


def test_what_stands_for_many_calls_has_the_number_of_each() -> None:
    """By their first argument: include/uapi/linux/net.h and include/uapi/linux/ipc.h."""
    by_words = [
        *("socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername"),
        *("socketpair", "sendto", "recvfrom", "sendto", "recvfrom", "shutdown", "setsockopt"),
        *("getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg"),
    ]
    by_order = {1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop"}
    by_order |= {11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl"}
    by_order |= {21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl"}

    def names(numbers: list[int]) -> dict[int, str]:
        return {at: OWN[number] for at, number in enumerate(numbers) if number >= 0}

    assert names(listed("socketcall_numbers")) == dict(enumerate(by_words, start=1))
    assert names(listed("ipc_numbers")) == by_order
    assert len(listed("socketcall_numbers")) == constant("SOCKETCALL_NUMBERS")
    assert len(listed("ipc_numbers")) == constant("IPC_NUMBERS")


def test_the_numbers_of_x32_are_those_of_calls_that_have_two() -> None:
    """arch/x86/entry/syscalls/syscall_64.tbl lists them by the names of the other ones."""
    names = [OWN[number] for number in listed("x32_numbers")]

    assert (len(names), len(set(names))) == (36, 36)
    assert (names[0], names[8], names[9], names[-1]) == (
        *("rt_sigaction", "execve", "ptrace"),
        "pwritev2",
    )
