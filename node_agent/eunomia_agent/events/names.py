# SPDX-License-Identifier: Apache-2.0
"""The kernel's names for numbers: errors, signals, system calls, capabilities, types of files.

A table has a name for each number that has one; what is in no table is shown as its number.
"""

import errno
import os
import platform
import signal
from collections.abc import Mapping
from functools import lru_cache

from eunomia_agent.events import syscalls

# include/linux/errno.h: seen where a system call ends, before the kernel restarts it
_RESTARTS = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    516: "ERESTART_RESTARTBLOCK",
    524: "ENOTSUPP",
}
_LARGEFILE = 0o400000 if platform.machine() == "aarch64" else 0o100000
OPEN_ACCESS: Mapping[int, str] = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR", 3: "O_ACCMODE"}
OPEN_FLAGS: Mapping[int, str] = {
    # what includes another one comes before it
    os.O_TMPFILE: "O_TMPFILE",
    os.O_SYNC: "O_SYNC",
    os.O_CREAT: "O_CREAT",
    os.O_EXCL: "O_EXCL",
    os.O_NOCTTY: "O_NOCTTY",
    os.O_TRUNC: "O_TRUNC",
    os.O_APPEND: "O_APPEND",
    os.O_NONBLOCK: "O_NONBLOCK",
    os.O_DSYNC: "O_DSYNC",
    os.O_ASYNC: "O_ASYNC",
    os.O_DIRECT: "O_DIRECT",
    _LARGEFILE: "O_LARGEFILE",
    os.O_DIRECTORY: "O_DIRECTORY",
    os.O_NOFOLLOW: "O_NOFOLLOW",
    os.O_NOATIME: "O_NOATIME",
    os.O_CLOEXEC: "O_CLOEXEC",
    os.O_PATH: "O_PATH",
}


def _signals() -> dict[int, str]:
    real_time = range(signal.SIGRTMIN + 1, signal.SIGRTMAX)
    return {
        0: "",
        **{number: f"SIGRTMIN+{number - signal.SIGRTMIN}" for number in real_time},
        **{each.value: each.name for each in signal.Signals},
    }


ERRORS: Mapping[int, str] = {0: "", **_RESTARTS, **errno.errorcode}
SIGNALS: Mapping[int, str] = _signals()
SYSCALLS: Mapping[int, str] = syscalls.NATIVE
_CAPABILITIES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""  # include/uapi/linux/capability.h, in their order
CAPABILITIES: Mapping[int, str] = {
    number: f"CAP_{name}" for number, name in enumerate(_CAPABILITIES.split())
}
FILE_TYPE_MASK = 0o170000
FILE_TYPE_SHIFT = 12
FILE_TYPES: Mapping[int, str] = {
    # inode(7); what a mode's bits are when shifted
    0: "",
    0o01: "fifo",
    0o02: "character",
    0o04: "directory",
    0o06: "block",
    0o10: "file",
    0o12: "link",
    0o14: "socket",
}


@lru_cache(maxsize=4096)
def open_flags(flags: int) -> str:
    """Return flags of open(2) by name, joined by |; what has no name as a hexadecimal number."""
    rest = flags_named(OPEN_FLAGS, flags & ~3)
    return "|".join(filter(None, [OPEN_ACCESS[flags & 3], rest]))


def flags_named(known: Mapping[int, str], flags: int) -> str:
    """Return the names of bits that are set, joined by |; the rest as a hexadecimal number.

    known: names by bits; what includes the bits of another comes before it.
    """
    found: list[str] = []
    for bits, name in known.items():
        if flags and flags & bits == bits:
            found.append(name)
            flags &= ~bits
    return "|".join([*found, hex(flags)] if flags else found)
