# SPDX-License-Identifier: Apache-2.0
"""Objects on their way into the kernel and out of it: nothing stays, and errors tell why."""

import ctypes
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.errors import HookMissing, KernelError, ObjectInvalid
from eunomia_agent.kernel.libbpf import library
from eunomia_agent.kernel.object import Object

Compile = Callable[..., Path]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to load BPF programs")
pytestmark = pytest.mark.bpf

COUNTER = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
     __type(key, u32); __type(value, u64); } runs SEC(".maps");
const volatile bool on = true;
const volatile s32 step = 1;
const volatile u8 small = 0;
const volatile char word[8] = "";
SEC("tp_btf/sched_process_exit")
int count(void *arguments)
{
    u32 zero = 0;
    u64 *run = bpf_map_lookup_elem(&runs, &zero);
    if (run && on && small == 0 && word[0] == 0)
        __sync_fetch_and_add(run, step);
    return 0;
}
"""
REFUSED = """
SEC("tp_btf/sched_process_exit")
int wild(u64 *arguments) { return *(int *)0x1000; }
"""
ABSENT = """
SEC("tp_btf/no_such_tracepoint")
int first(void *arguments) { return 0; }
SEC("tracepoint/syscalls/sys_exit_no_such_call")
int second(void *arguments) { return 0; }
SEC("tp_btf/sched_process_exit")
int third(void *arguments) { return 0; }
"""


def descriptors() -> list[str]:
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in _open_numbers())


def _open_numbers() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]


def alive(kind: str, ids: Iterable[int]) -> set[int]:
    """Which of these programs or maps the kernel still has, after two seconds at most."""
    ask = getattr(library(), f"bpf_{kind}_get_fd_by_id")
    left = set(ids)
    deadline = time.monotonic() + 2
    while left and time.monotonic() < deadline:
        for each in list(left):
            fd = ask(ctypes.c_uint32(each))
            if fd == -errno.ENOENT:
                left.discard(each)
            elif fd >= 0:
                os.close(fd)
        time.sleep(0.01)
    return left


@needs_root
def test_a_program_runs_from_attach_to_detach_and_leaves_nothing(compile_bpf: Compile) -> None:
    before = descriptors()
    with Object.open(compile_bpf(COUNTER)) as counter:
        counter.set("step", 3)
        counter.load()
        runs = counter.map("runs")

        def count() -> int:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            return int.from_bytes(runs.lookup(bytes(4)) or b"", "little")

        assert count() == 0
        (link,) = counter.attach()
        first = count()
        assert first >= 3
        assert first % 3 == 0
        counter.detach()
        still = count()
        assert count() == still
        counter.attach()
        assert count() > still
        link.close()  # closed already by detach
        programs, maps = [p.id for p in counter.programs.values()], [runs.id]
        assert counter.misses() == 0
    counter.close()

    assert alive("prog", programs) == set()
    assert alive("map", maps) == set()
    assert descriptors() == before


@needs_root
def test_what_the_verifier_refuses_is_told_in_its_words_and_leaves_nothing(
    compile_bpf: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "eunomia.libbpf")
    refused = Object.open(compile_bpf(REFUSED))
    before = descriptors()

    with pytest.raises(KernelError, match="test cannot be loaded") as failure:
        refused.load()
    refused.close()

    assert failure.value.errno in (errno.EACCES, errno.EINVAL)
    assert "R1 invalid mem access 'scalar'" in failure.value.log
    assert failure.value.log in str(failure.value)
    assert "BEGIN PROG LOAD LOG" in caplog.text
    assert [fd for fd in descriptors() if fd not in before] == []
    assert not any("bpf" in fd for fd in descriptors())


@needs_root
def test_hooks_that_the_kernel_lacks_are_skipped_unless_required(compile_bpf: Compile) -> None:
    with Object.open(compile_bpf(ABSENT)) as programs:
        skipped = programs.skip_missing(["tp_btf/sched_process_exit"])
        assert skipped == {
            "tp_btf/no_such_tracepoint": "the kernel has no tracepoint no_such_tracepoint",
            "tracepoint/syscalls/sys_exit_no_such_call": (
                "the kernel has no tracepoint syscalls/sys_exit_no_such_call"
            ),
        }
        programs.load()
        assert len(programs.attach()) == 1

    with (
        Object.open(compile_bpf(ABSENT)) as programs,
        pytest.raises(HookMissing, match="test cannot run here: tp_btf/no_such_tracepoint: the "),
    ):
        programs.skip_missing(["tp_btf/no_such_tracepoint"])


@needs_root
def test_attaching_is_all_or_nothing(compile_bpf: Compile) -> None:
    source = ABSENT.replace("tp_btf/no_such_tracepoint", "tp_btf/sched_process_exec")
    with Object.open(compile_bpf(source)) as programs:
        programs.load()
        before = descriptors()
        with pytest.raises(KernelError, match="program second of test cannot be attached"):
            programs.attach()
        assert descriptors() == before


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("on", False, b"\0"),
        ("step", -2, (-2).to_bytes(4, "little", signed=True)),
        ("small", 255, b"\xff"),
        ("word", "sieben7", b"sieben7\0"),
        ("word", "é", b"\xc3\xa9".ljust(8, b"\0")),
    ],
)
def test_a_variable_holds_what_it_was_set_to(
    compile_bpf: Compile, name: str, value: bool | int | str, held: bytes
) -> None:
    with Object.open(compile_bpf(COUNTER)) as counter:
        counter.set(name, value)
        assert counter.variables[name] == held


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on", 1),
        ("step", True),
        ("step", 2**31),
        ("small", 256),
        ("small", -1),
        ("word", "achtacht"),
        ("word", 7),
        ("unknown", 7),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    compile_bpf: Compile, name: str, value: bool | int | str
) -> None:
    with Object.open(compile_bpf(COUNTER)) as counter:
        with pytest.raises(KernelError, match=name):
            counter.set(name, value)
        assert counter.variables["step"] == (1).to_bytes(4, "little")


def test_a_missing_map_is_answered_with_those_there_are(compile_bpf: Compile) -> None:
    with (
        Object.open(compile_bpf(COUNTER)) as counter,
        pytest.raises(KernelError, match="no map events; there are: runs"),
    ):
        counter.map("events")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"", "not an ELF file"),
        (lambda data: b"name: opensnoop\n" * 10, "not an ELF file"),
        (lambda data: data[:700], "table of sections is cut off"),
        (lambda data: data[:18] + (62).to_bytes(2, "little") + data[20:], "made for machine 62"),
        (lambda data: data.replace(b".BTF\0", b".XTF\0"), "has no section .BTF"),
        (lambda data: data[:5] + b"\2" + data[6:], "endian"),
    ],
)
def test_a_file_that_is_no_object_is_refused_with_the_reason(
    compile_bpf: Compile, tmp_path: Path, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "spoilt.bpf.o"
    path.write_bytes(spoil(compile_bpf(COUNTER).read_bytes()))
    before = descriptors()

    with pytest.raises(ObjectInvalid, match=reason):
        Object.open(path)

    assert descriptors() == before


def test_garbage_in_the_types_is_refused_before_libbpf_sees_it(compile_bpf: Compile) -> None:
    """libbpf 1.1 crashes on a type whose number does not exist."""
    path = compile_bpf(COUNTER)
    data = path.read_bytes()
    start = data.index((0xEB9F).to_bytes(2, "little")) + 24
    refused = 0
    for place in range(start, start + 600):
        path.write_bytes(data[:place] + b"\xee" + data[place + 1 :])
        try:
            Btf.of_object(path.read_bytes())
        except ObjectInvalid:
            refused += 1
            with pytest.raises(ObjectInvalid):
                Object.open(path)
    assert refused > 100
