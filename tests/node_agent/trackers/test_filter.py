# SPDX-License-Identifier: Apache-2.0
"""What the kernel is asked of a whole event is what its row is asked, for all that may be in it."""

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address

import numpy as np
import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import REFERENCES, Column, Layout, event_layout
from eunomia_agent.events.render import MAPPED
from eunomia_agent.events.where import mask
from eunomia_agent.jobs.whose import apart
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.sinks.rows import named
from eunomia_agent.trackers import filter as filters
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.filter import Filter, Question, Undecided, filter_of
from eunomia_api.library import built_in
from eunomia_api.rule import LibraryRule
from eunomia_api.where import Expression, parse, syntax

if not (OBJECTS / "access.bpf.o").exists():
    pytest.skip("needs the objects that the build compiles", allow_module_level=True)

TRACKERS = ("access", "execution", "privileged", "tcp")
CATALOGUE = Catalogue.load().trackers
LAYOUTS = {
    name: event_layout(Btf.of_object((OBJECTS / f"{name}.bpf.o").read_bytes())) for name in TRACKERS
}
OWNER = named(Owner(1, "container", container_id="4f1c2d3e4b5a"))
ROWS = 400


def record_passes(found: Filter, record: bytes) -> bool:
    """What filter.h does."""
    place = 0
    while place < len(found.steps):
        test, yes, no = found.steps[place]
        place = yes if holds(test, record) else no
    return place == filters.PASSES


def holds(test: Question, record: bytes) -> bool:
    (value,) = struct.unpack_from("=Q", record, test.at)
    begin, length = value & 0xFFFF, value >> 16 & 0xFFFF
    text = record[begin : begin + length]
    answers: Mapping[int, Callable[[], bool]] = {
        filters.NUMBER: lambda: ((value - test.least) & test.mask) <= test.above,
        filters.BITS: lambda: value & test.mask == test.mask,
        filters.INLINE: lambda: record.startswith(test.text, test.at),
        filters.SAME: lambda: text == test.text,
        filters.BEGINS: lambda: text.startswith(test.text),
        filters.ENDS: lambda: text.endswith(test.text),
        filters.HOLDS: lambda: test.text in text,
        filters.SECOND: lambda: text.partition(b"\0")[2].startswith(test.text),
    }
    return answers[test.kind]()


def literals(root: syntax.Node) -> Mapping[str, list[syntax.Value]]:
    """What each column is compared with somewhere in a condition."""
    values = [node.value for node in syntax.walk(root) if isinstance(node, syntax.Literal)]
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int)]
    return {"text": [*texts], "number": [*numbers]}


class Rows:
    """Records of a tracker that hold what a condition asks for, whole, in part, or not at all."""

    def __init__(self, layout: Layout, root: syntax.Node, seed: int) -> None:
        self._random = random.Random(seed)
        self._layout = layout
        self._asked = literals(root)

    def record(self) -> tuple[bytes, bytes]:
        """The fixed part and the tail."""
        fixed, tail = bytearray(self._layout.size), b""
        for column in self._layout.columns:
            if column.meaning in REFERENCES:
                text = self.arguments() if column.meaning == "args_t" else self.text()
                place = len(text) << 16 | (len(fixed) + len(tail)) if text else 0
                struct.pack_into("=I", fixed, column.offset, place)
                tail += text
            else:
                content = self.content(column)
                fixed[column.offset : column.offset + column.size] = content
        return bytes(fixed), tail

    def content(self, column: Column) -> bytes:
        if column.kind == "chars":
            return self.text()[: column.size - 1].ljust(column.size, b"\0")
        if column.meaning == "ip_t":
            near = ("10.0.0.1", "10.0.0.2", "127.0.0.1", "127.1.0.1", "::1", "fd00::1", "::7f00:1")
            address = ip_address(self._random.choice(near)).packed
            return address if len(address) == 16 else MAPPED + address
        if column.kind in ("bytes", "list"):
            return self._random.randbytes(column.size)
        if column.kind == "bool":
            return bytes([self._random.randrange(2)])
        if column.values:
            number = self._random.choice([*column.values, 0])
        elif column.meaning == "file_mode_t":
            number = self._random.randrange(0o10000)
        elif column.meaning == "device_t":
            number = 1 << 20 | self._random.randrange(6)
        else:
            near = [int(each) + by for each in self._asked["number"] for by in (-1, 0, 1)]
            number = self._random.choice([*near, 0, 0, 1, 2, 0o60000, 0o1000, 101, 59, 2**63])
        return (number % (1 << 8 * column.size)).to_bytes(column.size, "little")

    def text(self) -> bytes:
        texts = [str(each).encode() for each in self._asked["text"]] or [b"x"]
        text = self._random.choice(texts)
        before = self._random.choice([b"", b"", b"", b"/x", b"\xff", b"x", b"\\"])
        behind = self._random.choice([b"", b"", b"", b"/", b"\xc3", b"\xff", "é".encode(), b"2"])
        if self._random.randrange(8) == 0:
            text = text[1:]
        return before + text.replace(b"\0", b"") + behind

    def arguments(self) -> bytes:
        count = self._random.randrange(5)
        return b"".join(self.text() + b"\0" for _ in range(count))


def batch_of(layout: Layout, records: list[tuple[bytes, bytes]]) -> Batch:
    fixed = np.frombuffer(b"".join(head for head, _ in records), layout.dtype)
    lengths = [len(tail) for _, tail in records]
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.uint64)
    return Batch(layout, fixed, b"".join(tail for _, tail in records), starts)


def compared(tracker: str, when: str, *, seed: int) -> int:
    """Hold the kernel's answer against that of rows; return how many passed."""
    layout = LAYOUTS[tracker]
    expression = parse(when, CATALOGUE[tracker].columns)
    _, others = apart(expression.conjuncts)
    whole = Expression.of(others)
    assert whole is not None
    found = filter_of(others, {column.name: column for column in layout.columns})
    rows = Rows(layout, whole.root, seed)
    records = [rows.record() for _ in range(ROWS)]
    told = mask(whole, batch_of(layout, records), OWNER)
    for (fixed, tail), row in zip(records, told.tolist(), strict=True):
        assert record_passes(found, fixed + tail + bytes(8)) == row, (fixed, tail)
    return int(told.sum())


def condition(rule: LibraryRule) -> str:
    """A rule's whole condition."""
    excepted = (f" && !({each.when})" for each in rule.exceptions)
    return f"({rule.when}){''.join(excepted)}"


def decided() -> Iterator[tuple[str, str]]:
    """The library's rules that the kernel decides, with their trackers."""
    for name, rule in built_in().rules.items():
        for tracker in {*rule.events} & {*TRACKERS}:
            columns = {column.name: column for column in LAYOUTS[tracker].columns}
            expression = parse(condition(rule), CATALOGUE[tracker].columns)
            with suppress(Undecided):
                filter_of(apart(expression.conjuncts)[1], columns)
                yield name, tracker


@pytest.mark.parametrize(("name", "tracker"), [*decided()])
def test_the_library_s_rules_mean_the_same_in_the_kernel(name: str, tracker: str) -> None:
    compared(tracker, condition(built_in().rules[name]), seed=1)


@pytest.mark.parametrize(
    ("tracker", "when"),
    [
        ("access", 'path == "/etc/passwd" || path == ""'),
        ("access", 'path.endsWith("/passwd") && !path.endsWith("/etc/passwd")'),
        ("access", 'target.contains("/etc/") || !(target.contains("/x"))'),
        ("access", 'comm == "/passwd" || comm.startsWith("/et") && comm != "/etc"'),
        ("access", 'flags.contains("O_TRUNC") || flags.contains("O_EXCL")'),
        ("access", 'device in ["1:1", "1:3"]'),
        ("access", "links < 2 && links >= 1 || links > 3 || !(links <= 7) || links != 2"),
        ("access", "links == -1 || 5 > links || links in [1, 2, 7]"),
        ("access", 'kind != "open" && kind in ["create", "mount"] || writing && !upper'),
        ("access", 'error == "" || error == "EPERM" || file_type == "block"'),
        ("execution", 'args[0] == "sh" || args[1] == "sh" || args[1] == "bash"'),
        ("execution", 'args.exists(a, a == "sh" || a.startsWith("/x") || a.contains("/sh"))'),
        ("execution", 'ancestors.exists(a, a in ["sh", "bash"]) || ancestors[0] == "x"'),
        ("execution", 'age >= duration("10m") || age < duration("1s")'),
        ("execution", 'host_namespaces.contains("mnt") || !host_namespaces.contains("net")'),
        ("execution", 'container_id != "" && setuid || container_id == "" && upper'),
        (
            "access",
            'path.matches("/(ba|da)?sh$") || path.matches("^/(usr/)?bin/[ps]s$") && path != "/sh"',
        ),
        ("access", 'mode.matches("^[4-7]") || mode.startsWith("0") && target.matches("/[bc]x")'),
        ("tcp", 'daddr in ["10.0.0.1", "::1", "fd00::1"] || saddr.startsWith("127.")'),
        ("tcp", 'daddr != "10.0.0.1" && !daddr.startsWith("127.0.") && dport in [22, 80]'),
        ("privileged", "result < 0 || result == 1 || request == 4611686018427387904"),
    ],
)
def test_each_question_means_the_same_in_the_kernel(tracker: str, when: str) -> None:
    try:
        passed = [compared(tracker, when, seed=seed) for seed in range(5)]
    except Undecided as error:
        pytest.fail(f"is not decided: {error.parts}")
    assert 0 < sum(passed) < 5 * ROWS


def test_an_argument_that_is_cut_off_is_none_that_is_asked_for() -> None:
    layout = LAYOUTS["execution"]
    columns = {column.name: column for column in layout.columns}
    for when in ('args[1] == "sh"', 'args.exists(a, a == "sh")'):
        found = filter_of(parse(when, CATALOGUE["execution"].columns).conjuncts, columns)
        for text, passes in ((b"x\0sh\0", True), (b"x\0sh", False), (b"x\0s", False)):
            fixed = bytearray(layout.size)
            struct.pack_into("=I", fixed, columns["args"].offset, len(text) << 16 | layout.size)
            assert record_passes(found, bytes(fixed) + text + bytes(8)) == passes


def test_nothing_is_enforced_for_how_a_path_does_not_begin_whose_beginning_is_cut_off() -> None:
    layout = LAYOUTS["access"]
    columns = {column.name: column for column in layout.columns}
    when = 'path.endsWith("/x") && !path.startsWith("/tmp/")'
    found = filter_of(parse(when, CATALOGUE["access"].columns).conjuncts, columns)
    for text, passes in ((b"/var/x", True), (b"/tmp/x", False), (b".../y/x", False)):
        fixed = bytearray(layout.size)
        struct.pack_into("=I", fixed, columns["path"].offset, len(text) << 16 | layout.size)
        assert record_passes(found, bytes(fixed) + text + bytes(8)) == passes


@pytest.mark.parametrize(
    ("tracker", "when"),
    [
        ("access", 'path.matches("/[^/]+x$")'),
        ("access", 'path.matches("/(a|b)*$")'),
        ("tcp", 'daddr.startsWith("10.0.0.1")'),
        ("tcp", 'daddr.endsWith(".1")'),
        ("tcp", 'daddr == "::ffff:102:304"'),  # rows show 1.2.3.4
        ("tcp", 'daddr == "::102:304"'),  # and ::1.2.3.4
        ("tcp", 'daddr == "fe80::1%eth0"'),
        ("tcp", "daddr == kubernetes_api || dport == 1"),
        ("access", 'path.endsWith("ff")'),  # of what is no text, rows show \xff
        ("access", 'path.contains("ff")'),
        ("access", 'path == "a\\\\b"'),
        ("access", f'target == "{"x" * 65}"'),
        ("access", 'flags.contains("SYNC")'),
        ("access", 'flags.contains("O_DSYNC")'),  # a part of O_SYNC
        ("access", 'pod == "web" || writing'),
        ("access", 'mode == "0644"'),
        ("access", 'device == "1:05"'),
        ("access", "links % 2 == 1"),
        ("execution", 'args[2] == "x"'),
        ("execution", '!(args[0] == "x")'),  # without an answer where there is none
        ("execution", '!(!(args[0] == "x"))'),  # so that an exception for others is for none
        ("execution", '!args.exists(a, a == "x")'),  # the last one may be cut off
        ("execution", 'args.exists(a, a != "x")'),
        ("execution", 'args.all(a, a == "x")'),
        ("execution", 'size(args) == 1 || stdin == "pipe"'),
    ],
)
def test_what_could_mean_more_in_the_kernel_is_not_decided_there(tracker: str, when: str) -> None:
    columns = {column.name: column for column in LAYOUTS[tracker].columns}
    expression = parse(when, CATALOGUE[tracker].columns)
    with pytest.raises(Undecided):
        filter_of(expression.conjuncts, columns)
