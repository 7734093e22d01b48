# SPDX-License-Identifier: Apache-2.0
"""What this kernel offers to programs: each feature is tried, no version is ever looked at."""

import ctypes
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eunomia_agent.kernel.errors import words
from eunomia_agent.kernel.libbpf import LoadOptions, library

# include/uapi/linux/bpf.h: program types, attach types, map types
TRACEPOINT, RAW_TRACEPOINT, TRACING, LSM, PERF_EVENT = 5, 17, 26, 29, 7
TRACE_RAW_TP, TRACE_FENTRY, LSM_MAC, TRACE_ITER = 23, 24, 27, 28
MAP_ARRAY, MAP_RINGBUF = 2, 27
PSEUDO_MAP_VALUE = 2
RETURN_ZERO = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = 0; exit"""
INACTIVE = (
    "bpf is not among the active security modules: add it to lsm= on the kernel's command line"
)
EVENT_SOURCES = Path("/sys/bus/event_source/devices")
TRACEFS = Path("/sys/kernel/tracing/events")


@dataclass(frozen=True, slots=True)
class Features:
    """names: what there is. missing: what there is not → why, in words."""

    names: frozenset[str]
    missing: Mapping[str, str]


@cache
def lacking(name: str) -> str | None:
    """Return why a feature is not there, or None when it is. Tried once a process.

    What needs the kernel's types takes libbpf 10 ms to find, each time.
    """
    return _TRIALS[name]()


def probe() -> Features:
    """Try every feature, each once a process."""
    reasons = {name: lacking(name) for name in _TRIALS}
    return Features(
        names=frozenset(name for name, reason in reasons.items() if reason is None),
        missing={name: reason for name, reason in reasons.items() if reason is not None},
    )


def _why(result: int, what: str) -> str | None:
    if result >= 0:
        os.close(result)
        return None
    return f"the kernel refuses {what}: {words(-result)}"


def _load(
    kind: int, attach_type: int = 0, target: str = "", instructions: bytes = RETURN_ZERO
) -> int:
    """Load a program, one that does nothing; return its file descriptor or -errno."""
    options = LoadOptions(size=ctypes.sizeof(LoadOptions))
    options.expected_attach_type = attach_type
    if target:
        found = library().libbpf_find_vmlinux_btf_id(target.encode(), attach_type)
        if found < 0:
            return int(found)
        options.attach_btf_id = found
    code = ctypes.create_string_buffer(instructions, len(instructions))
    return int(
        library().bpf_prog_load(
            kind, b"eunomia_probe", b"GPL", code, len(instructions) // 8, ctypes.byref(options)
        )
    )


def _attach(kind: int, attach_type: int, target: str, instructions: bytes = RETURN_ZERO) -> int:
    """Load and attach such a program; return the file descriptor of its link or -errno."""
    program = _load(kind, attach_type, target, instructions)
    if program < 0:
        return program
    try:
        return int(library().bpf_raw_tracepoint_open(None, program))
    finally:
        os.close(program)


def _btf() -> str | None:
    readable = os.access("/sys/kernel/btf/vmlinux", os.R_OK)
    return None if readable else "the kernel's types (BTF) are not at /sys/kernel/btf/vmlinux"


def _ringbuf() -> str | None:
    has = library().libbpf_probe_bpf_map_type(MAP_RINGBUF, None) == 1
    return None if has else "the kernel has no BPF ring buffers"


def _tracepoint() -> str | None:
    if not os.path.isdir(TRACEFS):
        return "tracefs cannot be read at /sys/kernel/tracing; mount it there"
    return _why(_load(TRACEPOINT), "programs on tracepoints")


def _raw_tracepoint() -> str | None:
    return _why(_load(RAW_TRACEPOINT), "programs on raw tracepoints")


def _tp_btf() -> str | None:
    return _why(_attach(TRACING, TRACE_RAW_TP, "sched_process_exec"), "programs of the kind tp_btf")


def _fentry() -> str | None:
    return _why(_attach(TRACING, TRACE_FENTRY, "do_exit"), "programs of the kind fentry")


def _lsm() -> str | None:
    """Where BPF is no active security module a program is attached, and never called."""
    called = int(library().bpf_map_create(MAP_ARRAY, b"eunomia_called", 4, 8, 1, None))
    if called < 0:
        return _why(called, "arrays")
    try:
        link = _attach(LSM, LSM_MAC, "file_open", _noting(called))
        if link < 0:
            return _why(link, "programs of the kind lsm")
        try:
            os.close(os.open("/", os.O_RDONLY))
        finally:
            os.close(link)
        value = ctypes.create_string_buffer(8)
        library().bpf_map_lookup_elem(called, bytes(4), value)
    finally:
        os.close(called)
    return None if any(value.raw) else INACTIVE


def _noting(map_fd: int) -> bytes:
    """Return a program that sets the 8 bytes of an array's one element to 1."""
    into = struct.pack("=BBhi", 0x18, PSEUDO_MAP_VALUE << 4 | 1, 0, map_fd) + bytes(8)
    return into + struct.pack("=BBhi", 0x7A, 1, 0, 1) + RETURN_ZERO


def _iterator() -> str | None:
    return _why(_load(TRACING, TRACE_ITER, "task"), "iterators")


def _source(name: str) -> Callable[[], str | None]:
    def trial() -> str | None:
        has = (EVENT_SOURCES / name / "type").exists()
        return None if has else f"the kernel is built without {name}s"

    return trial


def _perf_event() -> str | None:
    return _why(_load(PERF_EVENT), "programs on perf events")


_TRIALS: Mapping[str, Callable[[], str | None]] = {
    "btf": _btf,
    "ringbuf": _ringbuf,
    "tracepoint": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "tp_btf": _tp_btf,
    "kprobe": _source("kprobe"),
    "uprobe": _source("uprobe"),
    "fentry": _fentry,
    "lsm": _lsm,
    "iterator": _iterator,
    "perf_event": _perf_event,
}
