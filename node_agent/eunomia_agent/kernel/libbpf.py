# SPDX-License-Identifier: Apache-2.0
"""The functions of libbpf.so.1 that are used, with their types, and where its words go.

Only what libbpf promises to keep through all of 1.x is called (its libbpf.map, LIBBPF_1.0.0 and
before). Structs of options begin with their own size, so that a later libbpf with more members
knows which ones this file knows.
"""

import ctypes
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_bool,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from typing import Any

from eunomia_agent.kernel.errors import KernelError

logger = logging.getLogger("eunomia.libbpf")

LIBRARY = "libbpf.so.1"
WARNING = 0
MAX_MESSAGE = 1 << 16
MAX_LOG = 1 << 14
"""Bytes of the verifier's log that an error carries: its end, where the reason stands."""

_PrintCallback = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    # name: result, arguments
    "libbpf_set_print": (c_void_p, _PrintCallback),
    "libbpf_num_possible_cpus": (c_int,),
    "libbpf_probe_bpf_map_type": (c_int, c_int, c_void_p),
    "libbpf_find_vmlinux_btf_id": (c_int, c_char_p, c_int),
    "bpf_object__open_file": (c_void_p, c_char_p, c_void_p),
    "bpf_object__load": (c_int, c_void_p),
    "bpf_object__close": (None, c_void_p),
    "bpf_object__btf": (c_void_p, c_void_p),
    "bpf_object__next_program": (c_void_p, c_void_p, c_void_p),
    "bpf_object__next_map": (c_void_p, c_void_p, c_void_p),
    "btf__raw_data": (c_void_p, c_void_p, POINTER(c_uint32)),
    "bpf_program__name": (c_char_p, c_void_p),
    "bpf_program__section_name": (c_char_p, c_void_p),
    "bpf_program__fd": (c_int, c_void_p),
    "bpf_program__autoload": (c_bool, c_void_p),
    "bpf_program__set_autoload": (c_int, c_void_p, c_bool),
    "bpf_program__attach": (c_void_p, c_void_p),
    "bpf_program__attach_iter": (c_void_p, c_void_p, c_void_p),
    "bpf_link__destroy": (c_int, c_void_p),
    "bpf_link__fd": (c_int, c_void_p),
    "bpf_iter_create": (c_int, c_int),
    "bpf_map__name": (c_char_p, c_void_p),
    "bpf_map__fd": (c_int, c_void_p),
    "bpf_map__type": (c_int, c_void_p),
    "bpf_map__key_size": (c_uint32, c_void_p),
    "bpf_map__value_size": (c_uint32, c_void_p),
    "bpf_map__max_entries": (c_uint32, c_void_p),
    "bpf_map__set_max_entries": (c_int, c_void_p, c_uint32),
    "bpf_map__set_value_size": (c_int, c_void_p, c_uint32),
    "bpf_map__reuse_fd": (c_int, c_void_p, c_int),
    "bpf_map__initial_value": (c_void_p, c_void_p, POINTER(c_size_t)),
    "bpf_map_create": (c_int, c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p),
    "bpf_map_lookup_elem": (c_int, c_int, c_char_p, c_void_p),
    "bpf_map_update_elem": (c_int, c_int, c_char_p, c_char_p, c_uint64),
    "bpf_map_delete_elem": (c_int, c_int, c_char_p),
    "bpf_map_get_next_key": (c_int, c_int, c_void_p, c_void_p),
    "bpf_map_lookup_batch": (
        *(c_int, c_int, c_void_p, c_void_p, c_void_p, c_void_p),
        *(POINTER(c_uint32), c_void_p),
    ),
    "bpf_map_delete_batch": (c_int, c_int, c_void_p, POINTER(c_uint32), c_void_p),
    "bpf_obj_get_info_by_fd": (c_int, c_int, c_void_p, POINTER(c_uint32)),
    "bpf_prog_load": (c_int, c_int, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p),
    "bpf_raw_tracepoint_open": (c_int, c_char_p, c_int),
    "ring_buffer__new": (c_void_p, c_int, c_void_p, c_void_p, c_void_p),
    "ring_buffer__consume": (c_int, c_void_p),
    "ring_buffer__free": (None, c_void_p),
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.vsnprintf.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)
_said = threading.local()


class OpenOptions(ctypes.Structure):
    """`struct bpf_object_open_opts` as of libbpf 1.0."""

    _fields_ = (
        ("size", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("reserved", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_char_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


class LoadOptions(ctypes.Structure):
    """`struct bpf_prog_load_opts` as of libbpf 1.0."""

    _fields_ = (
        ("size", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_char_p),
    )


class IteratorOptions(ctypes.Structure):
    """`struct bpf_iter_attach_opts` as of libbpf 1.0."""

    _fields_ = (
        ("size", c_size_t),
        ("link_info", c_void_p),
        ("link_info_len", c_uint32),
    )


@cache
def library() -> Any:
    """Return libbpf, loaded once. Raises KernelError that says what to install."""
    try:
        found = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        message = f"cannot load {LIBRARY} ({error}); on Debian and Ubuntu: apt-get install libbpf1"
        raise KernelError(message) from error
    for name, (result, *arguments) in _SIGNATURES.items():
        try:
            function = getattr(found, name)
        except AttributeError:
            raise KernelError(f"{LIBRARY} is older than 1.0: it has no {name}") from None
        function.restype, function.argtypes = result, arguments
    found.libbpf_set_print(_print)
    return found


def _hear(level: int, pattern: bytes, arguments: int) -> int:
    heard: list[str] | None = getattr(_said, "lines", None)
    if heard is None and not logger.isEnabledFor(logging.DEBUG):
        return 0
    text = ctypes.create_string_buffer(MAX_MESSAGE)
    length = _libc.vsnprintf(text, MAX_MESSAGE, pattern, arguments)
    message = text.value.decode(errors="backslashreplace").removesuffix("\n")
    logger.debug("%s", message)
    if heard is not None and level == WARNING:
        heard.append(message if length < MAX_MESSAGE else f"{message} (cut off)")
    return 0


_print = _PrintCallback(_hear)
"""Kept for as long as libbpf may call it."""


@contextmanager
def listening() -> Generator[list[str]]:
    """Collect what libbpf warns of on this thread: the verifier's log is among it."""
    lines: list[str] = []
    _said.lines = lines
    try:
        yield lines
    finally:
        _said.lines = None


def log_tail(lines: list[str]) -> str:
    """Return the last MAX_LOG characters of what was heard, from the beginning of a line."""
    text = "\n".join(lines)
    return text if len(text) <= MAX_LOG else text[-MAX_LOG:].split("\n", 1)[-1]


def check(result: int, attempted: str, lines: list[str] | None = None) -> int:
    """Return a result that is not negative. Raises KernelError; libbpf returns -errno."""
    if result < 0:
        raise KernelError(attempted, -result, log=log_tail(lines or []))
    return result


def check_pointer(pointer: int | None, attempted: str, lines: list[str] | None = None) -> int:
    """Return a pointer that is not NULL. Raises KernelError; libbpf sets errno."""
    if not pointer:
        raise KernelError(attempted, ctypes.get_errno(), log=log_tail(lines or []))
    return pointer
