# SPDX-License-Identifier: Apache-2.0
"""The kernel's names for numbers: errors, signals, flags of open(2)."""

import errno
import os
import platform
import signal
from functools import lru_cache

# include/linux/errno.h: seen where a system call ends, before the kernel restarts it
_RESTARTS = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    516: "ERESTART_RESTARTBLOCK",
    524: "ENOTSUPP",
}
_LARGEFILE = 0o400000 if platform.machine() == "aarch64" else 0o100000
_ACCESS = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR", 3: "O_ACCMODE"}
_FLAGS = {
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


def error(number: int) -> str:
    """Return an error's name, such as ENOENT; "" for 0."""
    if number == 0:
        return ""
    return errno.errorcode.get(number) or _RESTARTS.get(number) or str(number)


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGKILL or SIGRTMIN+1; "" for 0."""
    if number == 0:
        return ""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@lru_cache(maxsize=4096)
def open_flags(flags: int) -> str:
    """Return flags of open(2) by name, joined by |; what has no name as a hexadecimal number."""
    names = [_ACCESS[flags & 3]]
    left = flags & ~3
    for bits, name in _FLAGS.items():
        if left & bits == bits:
            names.append(name)
            left &= ~bits
    return "|".join([*names, hex(left)] if left else names)
