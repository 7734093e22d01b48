# SPDX-License-Identifier: Apache-2.0
"""Iterators: programs that the kernel runs for each of its objects when it is asked to.

bpf_iter(7) as in Documentation/bpf/bpf_iterators.rst; `iter/cgroup` is in kernel/bpf/cgroup_iter.c.
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Self

from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.libbpf import IteratorOptions, check, check_pointer, library, listening

PREFIX = "iter/"
"""How the sections of such programs begin: they are run, not attached."""
DESCENDANTS_PRE = 2
"""include/uapi/linux/bpf.h: enum bpf_cgroup_iter_order"""
CHUNK = 1 << 16
MAX_CHUNKS = 1 << 12
"""More output than this, or more than 4 billion objects, is no end that a program comes to."""


class CgroupWalk(ctypes.Structure):
    """The member `cgroup` of `union bpf_iter_link_info`."""

    _fields_ = (
        ("order", ctypes.c_uint32),
        ("cgroup_fd", ctypes.c_uint32),
        ("cgroup_id", ctypes.c_uint64),
    )


class Iterator:
    """A program bound to what it walks, to be run as often as one likes."""

    def __init__(self, program: int, title: str, walk: CgroupWalk | None = None) -> None:
        """Bind a program, by libbpf's pointer to it.

        walk: what a program over cgroups walks; None for others. Raises KernelError.
        """
        options = IteratorOptions(size=ctypes.sizeof(IteratorOptions))
        if walk is not None:
            options.link_info = ctypes.addressof(walk)
            options.link_info_len = ctypes.sizeof(walk)
        with listening() as lines:
            pointer = library().bpf_program__attach_iter(program, ctypes.byref(options))
            link = check_pointer(pointer, f"{title} cannot be made ready", lines)
        self._title = title
        self._link: int | None = link

    @classmethod
    def over_cgroups(cls, program: int, title: str, root: Path | None) -> Self:
        """Bind a program to a cgroup and all those below.

        root: a folder of cgroupfs; None: the root of this process's cgroup namespace, in the v2
        hierarchy. Raises KernelError.
        """
        if root is None:
            return cls(program, title, CgroupWalk(order=DESCENDANTS_PRE))
        descriptor = _open(root, title)
        try:
            return cls(program, title, CgroupWalk(order=DESCENDANTS_PRE, cgroup_fd=descriptor))
        finally:
            os.close(descriptor)

    def run(self) -> None:
        """Run it over all there is. What it writes out is thrown away. Raises KernelError."""
        if self._link is None:
            raise KernelError(f"{self._title} is closed")
        link = check(library().bpf_link__fd(self._link), self._title)
        descriptor = check(library().bpf_iter_create(link), f"{self._title} cannot be run")
        try:
            self._read(descriptor)
        except OSError as error:
            raise KernelError(f"{self._title} cannot be run", error.errno or 0) from error
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of what it walks. May be called again."""
        link, self._link = self._link, None
        if link is not None:
            library().bpf_link__destroy(link)

    def _read(self, descriptor: int) -> None:
        for _ in range(MAX_CHUNKS):
            try:
                if not os.read(descriptor, CHUNK):
                    return
            except OSError as error:
                # A million objects without a word of output: bpf_seq_read asks to be called again.
                if error.errno != errno.EAGAIN:
                    raise
        raise KernelError(f"{self._title} does not come to an end")


def _open(root: Path, title: str) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"{title}: {root} cannot be opened", error.errno or 0) from error
