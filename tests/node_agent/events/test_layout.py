# SPDX-License-Identifier: Apache-2.0
"""Columns out of what the compiler wrote about a struct."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eunomia_agent.events import render
from eunomia_agent.events.layout import SLOTS, Column, Layout, event_layout, map_layout
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.errors import ObjectInvalid

Compile = Callable[[str], Path]

TEXTS = ("path", "args", "comm")
RING = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096);
    __type(value, struct event); } events SEC(".maps");
"""


def read(compile_bpf: Compile, source: str) -> Layout:
    return event_layout(Btf.of_object(compile_bpf(source + RING).read_bytes()))


def test_every_kind_of_member_is_a_column_at_its_place(compile_bpf: Compile) -> None:
    layout = read(
        compile_bpf,
        """
        typedef u32 path_t;
        typedef u64 boot_ns_t;
        typedef u8 ipv6_t[16];
        enum kind { kind_one = 1, kind_two = 2 };
        enum other { red = -1, green = 5 };
        struct point { s16 x; s16 y; };
        struct subject { boot_ns_t time; u64 cgroup_id; char comm[16]; };
        struct event {
            struct subject who;
            enum kind kind;
            enum other colour;
            const volatile s64 change;
            bool yes;
            u16 port;
            struct point from, to;
            ipv6_t address;
            u32 slots[4];
            u32 pad;
            path_t path;
            void *where;
        };
        """,
    )

    assert layout.size == layout.dtype.itemsize == 112
    assert [(c.name, c.meaning, c.kind, c.offset, c.size) for c in layout.columns] == [
        ("time", "boot_ns_t", "uint", 0, 8),
        ("cgroup_id", "u64", "uint", 8, 8),
        ("comm", "char[16]", "chars", 16, 16),
        ("kind", "enum kind", "enum", 32, 4),
        ("colour", "enum other", "enum", 36, 4),
        ("change", "s64", "int", 40, 8),
        ("yes", "bool", "bool", 48, 1),
        ("port", "u16", "uint", 50, 2),
        ("from_x", "s16", "int", 52, 2),
        ("from_y", "s16", "int", 54, 2),
        ("to_x", "s16", "int", 56, 2),
        ("to_y", "s16", "int", 58, 2),
        ("address", "ipv6_t", "bytes", 60, 16),
        ("slots", "u32[4]", "list", 76, 16),
        ("path", "path_t", "uint", 96, 4),
        ("where", "pointer", "uint", 104, 8),
    ]
    assert layout.column("kind").values == {1: "one", 2: "two"}
    assert layout.column("colour").values == {-1: "red", 5: "green"}
    assert [c.name for c in layout.columns if c.internal] == ["cgroup_id"]


def test_numbers_are_read_as_the_compiler_laid_them_out(compile_bpf: Compile) -> None:
    layout = read(
        compile_bpf,
        "struct event { s8 a; u16 b; s32 c; u64 d; char name[5]; u16 three[3]; float half; };",
    )
    record = np.zeros(1, layout.dtype)
    record[0] = (-1, 65535, -(2**31), 2**64 - 1, b"abcde", [1, 2, 3], 0.5)

    assert len(record.tobytes()) == layout.size == 32
    assert record.tobytes()[:16] == (
        b"\xff\0" + b"\xff\xff" + b"\0\0\0\x80" + b"\xff\xff\xff\xff\xff\xff\xff\xff"
    )
    again = np.frombuffer(record.tobytes(), layout.dtype)[0]
    assert again["a"] == -1
    assert again["name"] == b"abcde"
    assert again["three"].tolist() == [1, 2, 3]
    assert again["half"] == 0.5


def test_counts_tell_keys_and_values_alike(compile_bpf: Compile) -> None:
    btf = Btf.of_object(
        compile_bpf(
            """
            typedef u32 syscall_t;
            struct key { u64 cgroup_id; syscall_t call; u32 pad; };
            struct value { u64 count; u64 errors; };
            struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
                __type(key, struct key); __type(value, struct value); } counts SEC(".maps");
            """
        ).read_bytes()
    )

    assert [c.name for c in map_layout(btf, "counts", "key").columns] == ["cgroup_id", "call"]
    assert map_layout(btf, "counts", "key").column("call").meaning == "syscall_t"
    assert map_layout(btf, "counts", "value").dtype.names == ("count", "errors")


@pytest.mark.parametrize(
    ("struct", "reason"),
    [
        ("struct event { u32 a : 3; };", "struct event: a is a bit field"),
        ("struct event { union { u32 a; u64 b; } either; };", "a in a union is no value of enum"),
        (
            "enum kind { kind_a }; struct event { enum kind kind; union { u32 a; u64 c; }; };",
            "c in a union is no value of enum member `kind` beside it; there are a",
        ),
        (
            "enum kind { kind_a, kind_b }; struct event { enum kind kind; union { "
            "struct { u32 x; u32 port; } a; struct { u32 port; } b; }; };",
            "port is not the same in all arms",
        ),
        (
            "enum kind { kind_a }; struct event { enum kind kind; u32 a; union { u32 a; } of; };",
            "struct event has two members a",
        ),
        (
            "struct in { union { u32 a; }; }; struct event { struct in in; };",
            "struct in: union in_ does not stand outermost",
        ),
        ("struct one { u8 x; }; struct event { struct one all[3]; };", "all is a list of structs"),
        (
            "struct subject { u32 flags; }; struct event { struct subject who; u32 flags; };",
            "struct event has two members flags",
        ),
        ("union event_of { u32 a; }; typedef union event_of event_of; struct event {};", ""),
    ],
)
def test_what_cannot_be_a_column_is_refused_by_name(
    compile_bpf: Compile, struct: str, reason: str
) -> None:
    if not reason:
        assert read(compile_bpf, struct).columns == ()
        return
    with pytest.raises(ObjectInvalid, match=reason):
        read(compile_bpf, struct)


def test_a_map_that_is_not_there_is_answered_with_those_there_are(compile_bpf: Compile) -> None:
    btf = Btf.of_object(compile_bpf("struct event { u32 a; };" + RING).read_bytes())

    with pytest.raises(ObjectInvalid, match="has no map counts; there are events"):
        map_layout(btf, "counts", "value")
    with pytest.raises(ObjectInvalid, match="map events does not tell the type of its key"):
        map_layout(btf, "events", "key")
    with pytest.raises(KeyError, match="no column 'b'; there are a"):
        event_layout(btf).column("b")


def test_a_column_can_be_compared(compile_bpf: Compile) -> None:
    column = read(compile_bpf, "struct event { u32 a; };").column("a")

    assert column == Column("a", "u32", "uint", 0, 4)


UNION = """
    typedef u32 path_t;
    typedef u64 duration_t;
    enum kind { kind_exec = 1, kind_exit = 2, kind_fork = 3 };
    struct ended { duration_t duration; u32 code; };
    struct event {
        enum kind kind;
        u32 pid;
        union {
            struct { duration_t duration; path_t filename; } exec;
            struct ended exit;
            u32 fork;
        };
        u32 last;
    };
"""


def test_arms_of_a_union_are_columns_of_the_rows_of_their_kind(compile_bpf: Compile) -> None:
    layout = read(compile_bpf, UNION)

    assert [(c.name, c.meaning, c.offset, sorted(c.kinds)) for c in layout.columns] == [
        ("kind", "enum kind", 0, []),
        ("pid", "u32", 4, []),
        ("duration", "duration_t", 8, [1, 2]),
        ("filename", "path_t", 16, [1]),
        ("code", "u32", 16, [2]),
        ("fork", "u32", 8, [3]),
        ("last", "u32", 24, []),
    ]
    records = np.array([(1, 7, 5, 9, 9, 5, 1)], layout.dtype)
    assert (records["duration"][0] & 0xFFFFFFFF, records["code"][0]) == (5, 9)


def test_enumeration_of_flags_is_one_by_its_name(compile_bpf: Compile) -> None:
    layout = read(
        compile_bpf,
        "enum access_flags { access_flags_read = 1, access_flags_write = 0x80000000 };"
        "struct event { enum access_flags access; };",
    )
    (access,) = layout.columns
    assert (access.kind, dict(access.values)) == ("flags", {1: "read", 1 << 31: "write"})
    assert layout.dtype["access"] == np.uint32


def test_type_in_json_is_that_of_the_renderer(compile_bpf: Compile) -> None:
    layout = read(
        compile_bpf,
        """
        typedef u8 ip_t[16]; typedef u32 errno_t; typedef s32 syscall_t; typedef u32 path_t;
        typedef u32 args_t; typedef u64 log2_t; typedef u32 percent_t; typedef u16 port_t;
        enum kind { kind_a = 1 }; enum some_flags { some_flags_b = 1 };
        struct event {
            ip_t ip; errno_t error; syscall_t syscall; path_t path; args_t args; log2_t slots[4];
            percent_t percent; port_t port; enum kind kind; enum some_flags flags; bool yes;
            char comm[16];
        };
        """,
    )
    assert {column.name: column.json_type for column in layout.columns} == {
        **dict.fromkeys(("ip", "error", "syscall", "path", "kind", "flags", "comm"), "string"),
        **dict.fromkeys(("args", "slots"), "array"),
        "percent": "number",
        "port": "integer",
        "yes": "boolean",
    }
    assert layout.column("slots").meaning == SLOTS
    for column in layout.columns:
        value = np.zeros(1, layout.dtype)[column.name]
        shown = json.loads(render.json(column, [b""] if column.name in TEXTS else value)[0])
        kinds = {"string": str, "array": list, "number": float, "integer": int, "boolean": bool}
        assert type(shown) is kinds[column.json_type], column.name
