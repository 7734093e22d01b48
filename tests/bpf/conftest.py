# SPDX-License-Identifier: Apache-2.0
"""Trackers in the real kernel, and processes in a cgroup of their own to trace."""

import ctypes
import mmap
import os
import platform
import signal
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.events.tally import Table, Tally, tally_layout
from eunomia_agent.kernel.object import Object
from eunomia_agent.kernel.rcu import wait_for_programs
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.denying import telling
from eunomia_agent.trackers.key import Enforcement

TRACKERS = Catalogue.load().trackers
JOB = 1
"""The set of jobs that holds slot 0 alone."""


@pytest.fixture(scope="session", autouse=True)
def _kernel(tracefs: None) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("needs a kernel with BTF")


Spawn = Callable[..., int]


@pytest.fixture
def spawn(cgroup: Path) -> Iterator[Spawn]:
    """Run a function in a child that has joined the cgroup, or another one; returns its pid.

    The child is forked and runs nothing else there: what it does is all that happens.
    """
    running: list[int] = []

    def start(function: Callable[[], object], into: Path = cgroup) -> int:
        procs = os.open(into / "cgroup.procs", os.O_WRONLY)
        pid = os.fork()
        if pid == 0:
            os.write(procs, b"0")
            try:
                function()
            finally:
                os._exit(0)
        os.close(procs)
        running.append(pid)
        return pid

    yield start
    for pid in running:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@dataclass(frozen=True)
class Account:
    """What the kernel counted: `struct account` of events.h."""

    matched: int
    lost: int
    limited: int
    sampled_out: int


@dataclass
class Tracked:
    """A running tracker with one target cgroup."""

    object: Object
    agent_wide: Object
    _drain: Drain | None

    @property
    def drain(self) -> Drain:
        """The reader of its events. Trackers that only count have none."""
        assert self._drain is not None
        return self._drain

    def limit(self, limits: Sequence[tuple[int, int]], jobs: int = JOB) -> None:
        flat = [number for limit in limits for number in (*limit, 0)]
        value = struct.pack("=2Q192Q", jobs, 0, *flat, *[0] * (192 - len(flat)))
        self.object.map("instance").update(bytes(4), value)

    def target(self, cgroup: Path, jobs: int = JOB, state: int = 0) -> None:
        key = struct.pack("=Q", cgroup.stat().st_ino)
        self.agent_wide.map("targets").update(key, struct.pack("=QII", jobs, state, 1))

    def account(self, cgroup: Path, job: int = 0) -> Account:
        key = struct.pack("=QII", cgroup.stat().st_ino, job, 0)
        value = self.object.map("accounts").lookup(key) or bytes(40)
        return Account(*struct.unpack("=5Q", value)[1:])

    @property
    def unclassified(self) -> int:
        value = self.object.map("unclassified").lookup(bytes(4)) or b""
        return sum(number for (number,) in struct.iter_unpack("=Q", value))

    def rows(self) -> Batch:
        """Everything in the ring, for tests whose events fit into one batch.

        What matched may still be on its way into the ring on another processor, and hide what
        came after.
        """
        wait_for_programs()
        batch = self.drain.drain()
        assert not self.drain.more
        return batch

    def counts(self, table: Table = "counts") -> list[dict[str, Any]]:
        """Take all rows out of a table, as numbers and bytes, once nothing adds to it any more."""
        layout = tally_layout(self.object.btf, table)
        fixed = Tally(self.object.map(table), layout).take(None, 0, JOB).fixed
        names = [column.name for column in layout.columns]
        columns = [fixed[name].tolist() for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


Track = Callable[..., Tracked]


def of_other_groups(name: str, lacking: Collection[str]) -> set[str]:
    """Sections that stay off since others do the same: the first that are all to be had run."""
    groups = TRACKERS[name].any_of
    chosen = next((group for group in groups if not {*group} & {*lacking}), [])
    return {section for group in groups for section in group} - {*chosen}


def unused(name: str, enforcement: object) -> Collection[str]:
    """Sections that a rule that denies has no use for, or that are for nothing else."""
    tracker = TRACKERS[name]
    return telling(tracker) if enforcement == Enforcement.DENY else tracker.denies


def switch_off(tracker: Object, sections: Collection[str]) -> None:
    for program in tracker.programs.values():
        if program.section in sections:
            program.autoload = False


@pytest.fixture
def track(cgroup: Path) -> Iterator[Track]:
    """Load and attach a tracker for the cgroup: track(name, ring_bytes=…, param=…).

    entries: how many the tables of counts hold; sizes: of other maps, by name; without: sections
    whose programs stay off; wide: variables of the agent-wide programs.
    """
    with ExitStack() as stack:

        def start(
            name: str,
            *,
            ring_bytes: int = 1 << 20,
            entries: int | None = None,
            sizes: Mapping[str, int] | None = None,
            without: Collection[str] = (),
            wide: Mapping[str, int] | None = None,
            **params: bool | int | str | bytes,
        ) -> Tracked:
            agent_wide = stack.enter_context(Object.open(OBJECTS / "cgroups.bpf.o"))
            for variable, value in (wide or {}).items():
                agent_wide.set(variable, value)
            agent_wide.load()
            agent_wide.attach()
            agent_wide.run_iterators()
            tracker = stack.enter_context(Object.open(OBJECTS / f"{name}.bpf.o"))
            for shared in {"targets", "runtimes"} & tracker.maps.keys():
                tracker.map(shared).reuse(agent_wide.map(shared))
            if "events" in tracker.maps:
                tracker.map("events").resize(ring_bytes)
            for table, size in (sizes or {}).items():
                tracker.map(table).resize(size)
            for table in {"counts", "histogram", "stacks"} & tracker.maps.keys():
                if entries is not None:
                    tracker.map(table).resize(entries)
            for param, value in params.items():
                tracker.set(param, value)
            switch_off(tracker, {*without, *unused(name, params.get("enforcement"))})
            missing = tracker.skip_missing()
            switch_off(tracker, of_other_groups(name, {*without, *missing}))
            tracker.load()
            drain = None
            if "events" in tracker.maps:
                drain = Drain(tracker.map("events"), event_layout(tracker.btf))
                stack.enter_context(drain)
            tracked = Tracked(tracker, agent_wide, drain)
            tracked.limit([])
            tracked.target(cgroup)
            tracker.attach()
            return tracked

        yield start


@dataclass(frozen=True)
class OldCalls:
    """Calls by the table of 32-bit programs, which any program makes by two bytes: int 0x80."""

    _memory: mmap.mmap
    _address: int

    def __call__(self, number: int, *arguments: int | bytes) -> int:
        """Return the result. Bytes are passed as the address of a text of at most 255."""
        numbers = [self._text(at, each) for at, each in enumerate(arguments)]
        words = (ctypes.c_uint * 6)(*numbers)
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(self._address)
        result: int = function(number, words)
        return result

    def address(self, text: bytes) -> int:
        """Return where a text of at most 255 bytes is now, below 4 GiB."""
        return self._text(0, text)

    def words(self, *arguments: int | bytes) -> bytes:
        """Return words of 4 bytes behind one another, as some calls take a list of them."""
        numbers = [self._text(at, each) for at, each in enumerate(arguments, start=6)]
        return struct.pack(f"={len(numbers)}I", *numbers)

    def _text(self, number: int, argument: int | bytes) -> int:
        if isinstance(argument, int):
            return argument & 0xFFFFFFFF
        at = mmap.PAGESIZE + 256 * number
        self._memory[at : at + len(argument) + 1] = argument + b"\0"
        return self._address + at


@pytest.fixture
def old_call() -> OldCalls:
    """Make calls by the table of 32-bit programs."""
    if platform.machine() != "x86_64":
        pytest.skip("needs the machine code of x86-64")
    below_4_gib = 0x40  # MAP_32BIT
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | below_4_gib
    memory = mmap.mmap(
        -1, 2 * mmap.PAGESIZE, flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    )
    # push rbx; push rbp; mov eax, edi; the arguments from [rsi] into ebx, ecx, edx, edi, ebp, esi;
    # int 0x80; pop rbp; pop rbx; ret
    code = bytes.fromhex("53 55 89f8 8b1e 8b4e04 8b5608 8b7e10 8b6e14 8b760c cd80 5d 5b c3")
    memory[: len(code)] = code
    call = OldCalls(memory, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    if os.fork() == 0:  # ends by a signal where the kernel has no such table
        getppid = 64
        os._exit(call(getppid) != os.getppid())
    if os.wait()[1]:
        pytest.skip("needs a kernel that runs 32-bit programs")
    return call
