# SPDX-License-Identifier: Apache-2.0
"""Programs of several objects behind one another at the end of system calls."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from eunomia_agent.kernel import chain as chain_module
from eunomia_agent.kernel.chain import MAX_CHAINED, PLACE, PROGRAMS, Chain
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.catalogue import OBJECTS

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to load BPF programs"),
]

COUNTER = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
     __type(key, u32); __type(value, u64); } runs SEC(".maps");
const volatile u32 whose = 0;
SEC("tp_btf/sys_exit")
int BPF_PROG(count, struct pt_regs *regs, long result)
{
    u32 zero = 0;
    u64 *run = bpf_map_lookup_elem(&runs, &zero);
    if (run && (u32)bpf_get_current_pid_tgid() == whose && result == whose)
        __sync_fetch_and_add(run, 1);
    return chain_go_on(ctx, call_number(regs));
}
"""
GETPID, GETPPID, GETUID = (39, 110, 102) if os.uname().machine == "x86_64" else (172, 173, 174)
CHOOSY = f"""
const volatile bool parents = false;
const volatile u8 chained_calls[CHAINED_CALLS] = {{[{GETPID}] = 1, [{GETUID}] = 1}};
const volatile u8 chained_calls_parents[CHAINED_CALLS] = {{[{GETPPID}] = 1}};
struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, CHAINED_CALLS);
     __type(key, u32); __type(value, u64); }} runs SEC(".maps");
const volatile u32 whose = 0;
SEC("tp_btf/sys_exit")
int BPF_PROG(count, struct pt_regs *regs)
{{
    u32 number = call_number(regs);
    u64 *run = bpf_map_lookup_elem(&runs, &number);
    if (run && (u32)bpf_get_current_pid_tgid() == whose)
        __sync_fetch_and_add(run, 1);
    return chain_go_on(ctx, number);
}}
"""


@pytest.fixture
def chain() -> Iterator[Chain]:
    made = Chain(OBJECTS / "calls.bpf.o")
    yield made
    made.close()


@pytest.fixture
def counter(chain: Chain, compile_bpf: Callable[..., Path]) -> Iterator[Callable[..., Object]]:
    opened: list[Object] = []

    @cache
    def compiled(source: str) -> Path:
        made = compile_bpf(source, "-include", "chain.h")
        return made.rename(made.with_name(f"{hash(source)}.o"))

    def load(source: str = COUNTER, **params: bool) -> Object:
        loading = Object.open(compiled(source))
        opened.append(loading)
        for name, value in {"whose": os.getpid(), **params}.items():
            loading.set(name, value)
        chain.share(loading)
        loading.load()
        return loading

    yield load
    for each in opened:
        each.close()


def attach(chain: Chain, loaded: Object) -> None:
    loaded.attach(lambda program: chain.attach(loaded, program))


def seen(*counters: Object) -> list[int]:
    """Call getpid ten times; return how many of the calls each program saw."""

    def runs() -> list[int]:
        values = (each.map("runs").lookup(bytes(4)) or b"" for each in counters)
        return [int.from_bytes(value, "little") for value in values]

    before = runs()
    for _ in range(10):
        os.getpid()
    return [after - earlier for earlier, after in zip(before, runs(), strict=True)]


def test_each_sees_every_call_once_while_it_is_attached_whoever_else_comes_and_goes(
    chain: Chain, counter: Callable[..., Object]
) -> None:
    first, second, third = three = [counter() for _ in range(3)]
    assert seen(*three) == [0, 0, 0]
    for each in three:
        attach(chain, each)
    assert seen(*three) == [10, 10, 10]
    second.detach()
    assert seen(*three) == [10, 0, 10]
    first.detach()
    assert seen(*three) == [0, 0, 10]
    attach(chain, first)
    attach(chain, second)
    assert seen(*three) == [10, 10, 10]
    third.close()
    assert seen(first, second) == [10, 10]
    first.detach()
    second.detach()
    assert seen(first, second) == [0, 0]
    attach(chain, second)
    assert seen(first, second) == [0, 10]


def test_a_program_is_run_for_the_calls_that_it_wants_and_no_others(
    chain: Chain, counter: Callable[..., Object]
) -> None:
    whole, some = counter(), counter(CHOOSY)
    more, last = counter(CHOOSY, parents=True), counter(CHOOSY, parents=True)
    for each in (some, whole, more, last):
        attach(chain, each)
    assert seen(whole) == [10]

    def runs(each: Object) -> dict[int, int]:
        """By number of the call."""
        counts = {
            int.from_bytes(call, "little"): int.from_bytes(count, "little")
            for call, count in each.map("runs").items()
        }
        return {call: count for call, count in counts.items() if count}

    for _ in range(10):
        os.getpid(), os.getppid(), os.getuid(), os.getgid()
    for each in (whole, some, more, last):
        each.detach()
    assert runs(some).keys() == {GETPID, GETUID}
    for each in (more, last):
        assert runs(each).keys() == {GETPID, GETPPID, GETUID}
        assert runs(each)[GETPPID] == 10


def test_who_was_about_to_jump_to_a_program_that_leaves_still_finds_it(
    chain: Chain, counter: Callable[..., Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = three = [counter() for _ in range(3)]
    for each in three:
        attach(chain, each)
    place = second.map(PLACE).lookup(bytes(4)) or b""
    waits: list[tuple[bool, list[int]]] = []

    def wait() -> None:
        waits.append((first.map(PROGRAMS).lookup(place) is not None, seen(*three)))

    monkeypatch.setattr(chain_module, "wait_for_programs", wait)
    second.detach()
    assert waits == [(True, [10, 0, 10])]
    assert third.map(PROGRAMS).lookup(place) is None


def test_places_are_used_again_and_who_finds_none_is_attached_by_itself(
    chain: Chain, counter: Callable[..., Object]
) -> None:
    some = counter()
    for _ in range(2 * MAX_CHAINED):
        attach(chain, some)
        some.detach()
    many = [counter() for _ in range(MAX_CHAINED + 1)]
    for each in many:
        attach(chain, each)
    assert seen(*many) == [10] * len(many)


def test_an_object_whose_program_stays_off_brings_no_first_one_into_the_kernel(
    compile_bpf: Callable[..., Path],
) -> None:
    unused = Chain(Path("/no/such/object"))
    with Object.open(compile_bpf(COUNTER, "-include", "chain.h")) as loading:
        for program in loading.programs.values():
            program.autoload = False
        unused.share(loading)
        loading.load()


def test_a_chain_that_was_closed_begins_anew_without_those_of_before(
    chain: Chain, counter: Callable[..., Object]
) -> None:
    before = counter()
    attach(chain, before)
    chain.close()
    assert seen(before) == [0]
    after = counter()
    attach(chain, after)
    before.close()
    assert seen(after) == [10]
