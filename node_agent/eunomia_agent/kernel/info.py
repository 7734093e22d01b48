# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of a loaded program or map: `struct bpf_prog_info`, `bpf_map_info`."""

import ctypes
from ctypes import c_char, c_uint8, c_uint32, c_uint64

from eunomia_agent.kernel.libbpf import check, library


class _MapInfo(ctypes.Structure):
    _fields_ = (("type", c_uint32), ("id", c_uint32))


class _ProgramInfo(ctypes.Structure):
    """Members up to verified_insns: include/uapi/linux/bpf.h."""

    _fields_ = (
        *(("type", c_uint32), ("id", c_uint32), ("tag", c_uint8 * 8)),
        *(("jited_prog_len", c_uint32), ("xlated_prog_len", c_uint32)),
        *(("jited_prog_insns", c_uint64), ("xlated_prog_insns", c_uint64)),
        *(("load_time", c_uint64), ("created_by_uid", c_uint32)),
        *(("nr_map_ids", c_uint32), ("map_ids", c_uint64), ("name", c_char * 16)),
        *(("ifindex", c_uint32), ("gpl_compatible", c_uint32)),
        *(("netns_dev", c_uint64), ("netns_ino", c_uint64)),
        *(("nr_jited_ksyms", c_uint32), ("nr_jited_func_lens", c_uint32)),
        *(("jited_ksyms", c_uint64), ("jited_func_lens", c_uint64)),
        *(("btf_id", c_uint32), ("func_info_rec_size", c_uint32), ("func_info", c_uint64)),
        *(("nr_func_info", c_uint32), ("nr_line_info", c_uint32)),
        *(("line_info", c_uint64), ("jited_line_info", c_uint64)),
        *(("nr_jited_line_info", c_uint32), ("line_info_rec_size", c_uint32)),
        *(("jited_line_info_rec_size", c_uint32), ("nr_prog_tags", c_uint32)),
        *(("prog_tags", c_uint64), ("run_time_ns", c_uint64), ("run_cnt", c_uint64)),
        *(("recursion_misses", c_uint64), ("verified_insns", c_uint32)),
    )


def _ask(fd: int, answer: ctypes.Structure) -> None:
    size = c_uint32(ctypes.sizeof(answer))
    result = library().bpf_obj_get_info_by_fd(fd, ctypes.byref(answer), ctypes.byref(size))
    check(result, "the kernel does not tell about one of its programs or maps")


def map_id(fd: int) -> int:
    """Return the kernel's number for a map."""
    answer = _MapInfo()
    _ask(fd, answer)
    return int(answer.id)


def program_id(fd: int) -> int:
    """Return the kernel's number for a program."""
    answer = _ProgramInfo()
    _ask(fd, answer)
    return int(answer.id)


def program_misses(fd: int) -> int:
    """Return how often the kernel passed a program over because it, or a kin, was running there.

    A tracepoint's program is passed over while bpf(2) itself works on a map on that CPU
    (kernel/trace/bpf_trace.c, trace_call_bpf); such an event is in no other count.
    """
    answer = _ProgramInfo()
    _ask(fd, answer)
    return int(answer.recursion_misses)
