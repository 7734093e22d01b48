# SPDX-License-Identifier: Apache-2.0
"""Objects: a compiled file of programs and maps, and its way into the kernel."""

import ctypes
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from eunomia_agent.kernel import hooks
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.errors import HookMissing, KernelError, ObjectInvalid
from eunomia_agent.kernel.iterator import Iterator as Walk
from eunomia_agent.kernel.libbpf import (
    OpenOptions,
    check,
    check_pointer,
    library,
    listening,
)
from eunomia_agent.kernel.link import Attachment
from eunomia_agent.kernel.map import Map
from eunomia_agent.kernel.program import Program
from eunomia_agent.kernel.variables import Variables


class Object:
    """The programs and maps of one file. Nothing of it is left in the kernel after close()."""

    def __init__(self, pointer: int, path: Path) -> None:
        self._pointer: int | None = pointer
        self._bpf = library()
        self._links: list[Attachment] = []
        self._walks: dict[str, Walk] = {}
        self._loaded = False
        self.path = path
        self.name = path.name.split(".")[0]
        self.btf = Btf.parse(self._raw_btf())
        found = [Map(each, self.name) for each in self._walk(self._bpf.bpf_object__next_map)]
        self._internal = {each.name: each for each in found if "." in each.name}
        self.maps: Mapping[str, Map] = {each.name: each for each in found if "." not in each.name}
        self.programs: Mapping[str, Program] = {
            program.name: program
            for program in (
                Program(each, self.name) for each in self._walk(self._bpf.bpf_object__next_program)
            )
        }

    @classmethod
    def open(cls, path: Path, *, kernel_btf: Path | None = None) -> Self:
        """Read a file. kernel_btf: the kernel's types, where /sys/kernel/btf/vmlinux is missing.

        Raises ObjectInvalid, KernelError.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise KernelError(f"{path.name} cannot be read", error.errno or 0) from error
        try:
            Btf.of_object(data)  # libbpf itself does not survive every file
        except ObjectInvalid as error:
            raise ObjectInvalid(f"{path.name}: {error}") from None
        options = OpenOptions(size=ctypes.sizeof(OpenOptions))
        options.btf_custom_path = str(kernel_btf).encode() if kernel_btf else None
        with listening() as lines:
            pointer = library().bpf_object__open_file(str(path).encode(), ctypes.byref(options))
            check_pointer(pointer, f"{path.name} cannot be opened", lines)
        try:
            return cls(pointer, path)
        except BaseException:
            library().bpf_object__close(pointer)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take programs and maps out of the kernel. May be called again."""
        self.detach()
        while self._walks:
            self._walks.popitem()[1].close()
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._bpf.bpf_object__close(pointer)

    def map(self, name: str) -> Map:
        """Return a map by its name in C. Raises KernelError naming what there is."""
        if name not in self.maps:
            known = ", ".join(self.maps) or "none"
            raise KernelError(f"{self.name} has no map {name}; there are: {known}")
        return self.maps[name]

    def set(self, name: str, value: bool | int | str | bytes) -> None:
        """Set a `const volatile` variable before loading. Raises KernelError if it does not fit."""
        if self._loaded:
            raise KernelError(f"{self.name} is loaded: {name} cannot change any more")
        self.variables.set(name, value)

    @property
    def variables(self) -> Variables:
        """The `const volatile` variables, by name."""
        for name, section in self._internal.items():
            if name.endswith(".rodata"):
                return Variables(self.name, self.btf, section.initial_value())
        return Variables(self.name, self.btf, (0, 0))

    def skip_missing(self, required: Collection[str] = ()) -> dict[str, str]:
        """Switch off programs whose hook this kernel lacks; return section → reason of each.

        Those that are off already are not asked for.
        Raises HookMissing when one of them is required, by its section's name.
        """
        missing: dict[str, str] = {}
        for program in self.programs.values():
            reason = hooks.missing(program.section) if program.autoload else None
            if reason is not None:
                missing[program.section] = reason
                program.autoload = False
        lacking = {section: missing[section] for section in required if section in missing}
        if lacking:
            raise HookMissing(f"{self.name} cannot run here", lacking)
        return missing

    def load(self) -> None:
        """Load maps and programs. Raises KernelError with the verifier's log; nothing stays then.

        An object that failed to load can only be closed.
        """
        for each in self.maps.values():
            each.prepare()
        with listening() as lines:
            result = self._bpf.bpf_object__load(self._live)
            check(result, f"{self.name} cannot be loaded", lines)
        self._loaded = True

    def attach(self, by: Callable[[Program], Attachment] = Program.attach) -> Sequence[Attachment]:
        """Attach all programs that were loaded, or none; iterators excepted. Raises KernelError."""
        links: list[Attachment] = []
        try:
            links.extend(by(program) for program in self._loaded_ones(iterators=False))
        except BaseException:
            for link in links:
                link.close()
            raise
        self._links += links
        return links

    def detach(self) -> None:
        """Detach all programs; they stay loaded, and may be attached again."""
        while self._links:
            self._links.pop().close()

    def run_iterators(self, root: Path | None = None) -> None:
        """Run all programs of the sections iter/… to their end, one after the other.

        root: from which cgroup those over cgroups walk down, a folder of cgroupfs; None: the root
        of this process's cgroup namespace. Only the first call looks at it. Raises KernelError.
        """
        for program in self._loaded_ones(iterators=True):
            if program.name not in self._walks:
                self._walks[program.name] = program.iterator(root)
            self._walks[program.name].run()

    def misses(self) -> int:
        """Return how often the kernel passed over any of the programs: see info.program_misses."""
        return sum(program.misses for program in self.programs.values() if program.autoload)

    def _loaded_ones(self, *, iterators: bool) -> list[Program]:
        programs = self.programs.values()
        return [each for each in programs if each.autoload and each.is_iterator == iterators]

    @property
    def _live(self) -> int:
        if self._pointer is None:
            raise KernelError(f"{self.name} is closed")
        return self._pointer

    def _raw_btf(self) -> bytes:
        size = ctypes.c_uint32()
        btf = check_pointer(self._bpf.bpf_object__btf(self._live), f"{self.path.name} has no BTF")
        data = self._bpf.btf__raw_data(btf, ctypes.byref(size))
        return ctypes.string_at(check_pointer(data, self.path.name), size.value)

    def _walk(self, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
        at: int | None = None
        while at := following(self._live, at):
            yield at
