# SPDX-License-Identifier: Apache-2.0
"""Programs: what the kernel runs at a hook."""

from pathlib import Path

from eunomia_agent.kernel import info
from eunomia_agent.kernel.iterator import PREFIX, Iterator
from eunomia_agent.kernel.libbpf import check, check_pointer, library, listening
from eunomia_agent.kernel.link import Link


class Program:
    """A program of an object; section names its hook, as in tp_btf/sched_process_exec."""

    def __init__(self, pointer: int, owner: str) -> None:
        self._pointer = pointer
        self._bpf = library()
        self.name: str = self._bpf.bpf_program__name(pointer).decode()
        self.section: str = self._bpf.bpf_program__section_name(pointer).decode()
        self._title = f"program {self.name} of {owner}"

    @property
    def autoload(self) -> bool:
        """Whether it is loaded with the object; to be set before."""
        return bool(self._bpf.bpf_program__autoload(self._pointer))

    @autoload.setter
    def autoload(self, wanted: bool) -> None:
        check(self._bpf.bpf_program__set_autoload(self._pointer, wanted), self._title)

    @property
    def fd(self) -> int:
        """The file descriptor. Raises KernelError before the object is loaded."""
        return check(self._bpf.bpf_program__fd(self._pointer), f"{self._title} is not loaded")

    @property
    def id(self) -> int:
        """The kernel's number for the program."""
        return info.program_id(self.fd)

    @property
    def misses(self) -> int:
        """How often the kernel passed it over: see info.program_misses."""
        return info.program_misses(self.fd)

    @property
    def is_iterator(self) -> bool:
        """Whether it is run, see iterator(), and not attached."""
        return self.section.startswith(PREFIX)

    def iterator(self, root: Path | None = None) -> Iterator:
        """Make it ready to be run. root: see Iterator.over_cgroups. Raises KernelError."""
        if self.section == f"{PREFIX}cgroup":
            return Iterator.over_cgroups(self._pointer, self._title, root)
        return Iterator(self._pointer, self._title)

    def attach(self) -> Link:
        """Attach it to its hook. Raises KernelError with libbpf's words."""
        with listening() as lines:
            pointer = self._bpf.bpf_program__attach(self._pointer)
            attempted = f"{self._title} cannot be attached to {self.section}"
            return Link(check_pointer(pointer, attempted, lines))
