# SPDX-License-Identifier: Apache-2.0
"""The compiled renderer makes the lines that render.py tells of, whatever a record holds."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.buffers import Buffers
from eunomia_agent.events.layout import Column, Kind, Layout
from eunomia_agent.events.template import Template, template_of
from eunomia_agent.sinks.clock import rfc3339

OFFSET = 1_738_324_800 * 10**9
"""2025-01-31T12:00:00Z at boot."""
TIME = Column("time", "boot_ns_t", "uint", 0, 8)


def layout_of(*columns: tuple[str, Kind, int], **more: Any) -> Layout:
    """Lay out columns c0, c1 … of (meaning, kind, size) behind a time."""
    offset, placed = 8, [TIME]
    for number, (meaning, kind, size) in enumerate(columns):
        count = size // 4 if kind == "list" else 1
        placed.append(Column(f"c{number}", meaning, kind, offset, size, count, **more))
        offset += size
    return Layout("event", offset, placed)


def columns_of(layout: Layout) -> tuple[str, ...]:
    return tuple(column.name for column in layout.columns if column.name != "time")


def told(batch: Batch) -> list[bytes]:
    """Return the rows as render.py makes their columns."""
    names = columns_of(batch.layout)
    parts = [column_of(batch, name) for name in ("time", *names)]
    row = "".join(f',"{name}":%s' for name in names)
    return [
        ('{"time":%s,"node":"n"' + row + "}").encode() % tuple(map(str.encode, values))
        for values in zip(*parts, strict=True)
    ]


def column_of(batch: Batch, name: str) -> list[str]:
    if batch.layout.column(name).meaning == "boot_ns_t":
        return [f'"{date}"' for date in rfc3339(batch.fixed[name], OFFSET)]
    return batch.json(name)


def rendered(batch: Batch) -> list[bytes]:
    lines = template_of(batch.layout, columns_of(batch.layout)).render(batch, b'"node":"n"', OFFSET)
    assert bytes(lines.data).count(b"\n") == len(lines) == len(batch)
    return list(lines)


EVERY_COLUMN = layout_of(
    *((f"u{8 * size}", "uint", size) for size in (1, 2, 4, 8)),
    *((f"s{8 * size}", "int", size) for size in (1, 2, 4, 8)),
    *((meaning, "uint", 4) for meaning in ("errno_t", "signal_t", "capability_t", "ipc_key_t")),
    *((meaning, "uint", 4) for meaning in ("open_flags_t", "file_mode_t", "file_type_t")),
    *((meaning, "uint", 4) for meaning in ("device_t", "percent_t", "ipv4_t", "path_t", "args_t")),
    ("stack_t", "uint", 4),
    *((meaning, "uint", 8) for meaning in ("duration_t", "boot_ns_t", "errno_t", "signal_t")),
    *(("syscall_t", "int", 4), ("bool", "bool", 1), ("port_t", "uint", 2), ("float", "float", 8)),
    *(("comm_t", "chars", 16), ("u8[3]", "bytes", 3), ("ip_t", "bytes", 16)),
    *(("ipv6_t", "bytes", 16), ("ip_t", "bytes", 4), ("u32[3]", "list", 12)),
    *(("s32[2]", "list", 8), ("log2_t[]", "list", 16)),
)


@given(st.lists(st.binary(min_size=EVERY_COLUMN.size, max_size=EVERY_COLUMN.size + 40), max_size=6))
def test_any_bytes_at_all_are_rows_as_render_py_tells_them(records: list[bytes]) -> None:
    batch = batch_of(EVERY_COLUMN, records)
    assert rendered(batch) == told(batch)
    for line in rendered(batch):
        assert line.isascii()
        json.loads(line)


def batch_of(layout: Layout, records: list[bytes]) -> Batch:
    fixed = np.frombuffer(b"".join(r[: layout.size] for r in records), layout.dtype)
    tails = [record[layout.size :] for record in records]
    starts = np.array([sum(map(len, tails[:n])) for n in range(len(tails))], np.uint64)
    return Batch(layout, fixed, b"".join(tails), starts)


TEXTS = layout_of(("path_t", "uint", 4), ("args_t", "uint", 4), ("comm_t", "chars", 16))
HOSTILE = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from(
            [
                b"\x1b[2J",
                b"\n",
                b"\0",
                b"\\",
                b'"',
                b"\xc0\x80",
                b"\xed\xa0\x80",
                b"\xf4\x90\x80\x80",
            ]
        ),
        st.sampled_from(
            [b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", "😀é\u2028".encode(), b"plain/name"]
        ),
    ),
    max_size=6,
).map(b"".join)


def text_record(path: bytes, args: bytes, comm: bytes = b"") -> bytes:
    size = TEXTS.size
    references = (len(path) << 16 | size, len(args) << 16 | size + len(path))
    head = np.array([(0, *references, comm[:16])], TEXTS.dtype)
    return head.tobytes() + path + args


@given(st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE), max_size=5))
@settings(max_examples=300)
def test_hostile_text_is_told_and_stays_inside_its_string(
    rows: list[tuple[bytes, bytes, bytes]],
) -> None:
    batch = batch_of(TEXTS, [text_record(*row) for row in rows])
    lines = rendered(batch)
    assert lines == told(batch)
    for line, (path, args, comm) in zip(lines, rows, strict=True):
        assert not any(byte < 0x20 or byte > 0x7E for byte in line)
        row = json.loads(line)
        assert row["c0"] == path.decode("utf-8", "backslashreplace")
        whole = args.removesuffix(b"\0").split(b"\0") if args else []
        assert row["c1"] == [each.decode("utf-8", "backslashreplace") for each in whole]
        name = comm[:16].split(b"\0", 1)[0]
        assert row["c2"] == name.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("offset", [0, TEXTS.size - 1, TEXTS.size, TEXTS.size + 3, 65535])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 65535])
def test_reference_reaches_nothing_but_its_own_record(offset: int, length: int) -> None:
    own, secret = b"mine", b"another container's secret"
    batch = batch_of(TEXTS, [text_record(secret, b""), text_record(own, b"")] * 2)
    fixed = batch.fixed.copy()
    fixed["c0"][1] = length << 16 | offset
    batch = Batch(TEXTS, fixed, batch.tail, batch.tail_start)
    at = offset - TEXTS.size
    mine = own[at : at + length].decode() if at >= 0 else ""
    assert json.loads(rendered(batch)[1])["c0"] == mine
    assert rendered(batch) == told(batch)
    assert json.loads(rendered(batch.take([1]))[0])["c0"] == mine


def test_rows_of_another_kind_are_null_in_a_unions_columns() -> None:
    values = {1: "exec", 2: "exit"}
    layout = Layout(
        "event",
        24,
        [
            TIME,
            Column("kind", "enum kind", "enum", 8, 4, values=values),
            Column("filename", "path_t", "uint", 12, 4, kinds=frozenset({1})),
            Column("signal", "signal_t", "uint", 12, 4, kinds=frozenset({2})),
            Column("load", "float", "float", 16, 8, kinds=frozenset({2, 3})),
            Column("depth", "u32", "uint", 16, 4, kinds=frozenset({4, 1 << 20})),
        ],
    )
    path = b"/bin/sh"
    fixed = np.zeros(4, layout.dtype)
    fixed["kind"] = [1, 2, 3, 4]
    fixed["signal"] = [len(path) << 16 | 24, 9, 9, 9]
    fixed["load"] = 0.5
    batch = Batch(layout, fixed, path * 4, np.arange(4, dtype=np.uint64) * 7)

    assert [json.loads(line) | {"time": ""} for line in rendered(batch)] == [
        {"time": "", "node": "n"}
        | {"kind": kind, "filename": name, "signal": signal, "load": load, "depth": depth}
        for kind, name, signal, load, depth in [
            ("exec", "/bin/sh", None, None, None),
            ("exit", None, "SIGKILL", 0.5, None),
            ("3", None, None, 0.5, None),
            ("4", None, None, None, 0),
        ]
    ]
    assert rendered(batch) == told(batch)
    assert batch.text("filename") == ["/bin/sh", "", "", ""]
    assert batch.text("load") == ["", "0.5", "0.5", ""]


def test_flags_of_an_enumeration_and_values_far_apart() -> None:
    flags = {0: "none", 1: "read", 2: "write", 3: "both", 8: 'od"d'}
    far = {-5: "least", 1 << 30: "most"}
    layout = Layout(
        "event",
        16,
        [
            TIME,
            Column("access", "enum access_flags", "flags", 8, 4, values=flags),
            Column("far", "enum far", "enum", 12, 4, values=far),
        ],
    )
    fixed = np.zeros(5, layout.dtype)
    fixed["access"] = [0, 3, 2, 9, 1 << 31 | 1]
    fixed["far"] = [-5, 1 << 30, 0, -6, 7]
    batch = Batch(layout, fixed, b"", np.zeros(5, np.uint64))

    rows = [json.loads(line) for line in rendered(batch)]
    assert [row["access"] for row in rows] == [
        "",
        "both",
        "write",
        'read|od"d',
        "read|0x80000000",
    ]
    assert [row["far"] for row in rows] == ["least", "most", "0", "-6", "7"]
    assert rendered(batch) == told(batch)


@pytest.mark.parametrize(
    "chosen", [slice(None, None, -1), slice(1, 9, 3), np.array([7, 0, 7]), np.arange(10) % 2 == 0]
)
def test_parts_of_a_batch_are_rendered_where_they_stand(chosen: Any) -> None:
    records = [text_record(b"/" * n, b"a\0" * n, b"c" * n) for n in range(10)]
    batch = batch_of(TEXTS, records)
    rows = np.array(rendered(batch), dtype=object)
    assert rendered(batch.take(chosen)) == rows[chosen].tolist()


def test_rows_longer_than_any_buffer_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters become six each: more than was reckoned with."""
    monkeypatch.setattr("eunomia_agent.events.template.BUFFERS", Buffers())
    batch = batch_of(TEXTS, [text_record(b"\x01" * 30_000, b"\x02\0" * 10_000) for _ in range(20)])
    lines = rendered(batch)
    assert [len(line) for line in lines] == [len(lines[0])] * 20
    assert lines == told(batch)


@pytest.mark.parametrize("first", range(1, 400, 7))
def test_buffer_grows_from_any_size_until_all_rows_fit(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr("eunomia_agent.events.buffers.LEAST", first)
    monkeypatch.setattr("eunomia_agent.events.template.SPARE", -511 * 3)
    monkeypatch.setattr("eunomia_agent.events.template.BUFFERS", Buffers())
    batch = batch_of(
        TEXTS, [text_record(b"/\x01" * n, b"a\0b" * n, b"\xff" * 16) for n in range(3)]
    )
    template = Template(TEXTS, columns_of(TEXTS))
    assert list(template.render(batch, b'"node":"n"', OFFSET)) == told(batch)


def test_lines_stay_as_they_are_while_anyone_holds_them() -> None:
    batches = [batch_of(TEXTS, [text_record(b"%d" % n * 50, b"")] * 20) for n in range(4)]
    template = Template(TEXTS, columns_of(TEXTS))
    held = [template.render(batch, b'"node":"n"', OFFSET) for batch in batches]
    parts = [lines.part(3, 5) for lines in held]
    expected = [bytes(part) for part in parts]
    del held
    for batch in batches * 3:
        template.render(batch, b'"node":"n"', OFFSET)
    assert [bytes(part) for part in parts] == expected


def test_buffer_is_lent_again_when_no_one_looks_at_it_any_more() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    address = first.ctypes.data
    view = buffers.lend(first, 10)
    part = view[2:4]
    del first, view
    assert buffers.take(100_000).ctypes.data != address
    del part
    assert buffers.take(100_000).ctypes.data == address


def test_dates_of_any_64_bits() -> None:
    layout = layout_of(("u8", "uint", 1))
    fixed = np.zeros(6, layout.dtype)
    fixed["time"] = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - OFFSET - 1]
    batch = Batch(layout, fixed, b"", np.zeros(6, np.uint64))
    assert rendered(batch) == told(batch)
