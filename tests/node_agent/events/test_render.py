# SPDX-License-Identifier: Apache-2.0
"""Golden tables: what each meaning looks like to people and in JSON."""

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from eunomia_agent.events import render, syscalls
from eunomia_agent.events.layout import Column, Kind

WIDE = ("boot_ns_t", "duration_t")


def column(meaning: str = "", kind: Kind = "uint", **more: Any) -> Column:
    return Column("x", meaning, kind, 0, 8 if meaning in WIDE else 4, **more)


@pytest.mark.parametrize("meaning", ["path_t", "string_t"])
@pytest.mark.parametrize(
    ("value", "text", "fragment"),
    [
        (b"", "", '""'),
        (b"/etc/passwd", "/etc/passwd", '"/etc/passwd"'),
        ("/tmp/grün/日本".encode(), "/tmp/grün/日本", '"/tmp/gr\\u00fcn/\\u65e5\\u672c"'),
        (b'with "quotes"', 'with "quotes"', '"with \\"quotes\\""'),
        (b"back\\slash", "back\\\\slash", '"back\\\\slash"'),
        (b"a\nb\tc\r", "a\\nb\\tc\\r", '"a\\nb\\tc\\r"'),
        (b"\x1b[2J\x07\x7f", "\\x1b[2J\\x07\\x7f", '"\\u001b[2J\\u0007\\u007f"'),
        (b"\xff\xc3(", "\\xff\\xc3(", '"\\\\xff\\\\xc3("'),
        (b"\\xff", "\\\\xff", '"\\\\xff"'),
        ("\x9b31m".encode(), "\\x9b31m", '"\\u009b31m"'),
        ("\u202egpj.exe".encode(), "\\u202egpj.exe", '"\\u202egpj.exe"'),
        ("\u2028".encode(), "\\u2028", '"\\u2028"'),
        ("😀".encode(), "😀", '"\\ud83d\\ude00"'),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80", '"\\\\xed\\\\xa0\\\\x80"'),
    ],
)
def test_text(meaning: str, value: bytes, text: str, fragment: str) -> None:
    assert render.text(column(meaning), [value]) == [text]
    assert render.json(column(meaning), [value]) == [fragment]
    assert text.isprintable()
    assert fragment.isascii()
    json.loads(fragment)


@pytest.mark.parametrize(
    ("value", "text", "fragment"),
    [
        (b"", "", "[]"),
        (b"ls\0-l\0", "ls -l", '["ls","-l"]'),
        (b"ls\0-l", "ls -l", '["ls","-l"]'),
        (b"sh\0\0a b\0", "sh '' 'a b'", '["sh","","a b"]'),
        (b"\x1b\0\xff\0", "\\x1b \\xff", '["\\u001b","\\\\xff"]'),
    ],
)
def test_arguments(value: bytes, text: str, fragment: str) -> None:
    assert render.text(column("args_t"), [value]) == [text]
    assert render.json(column("args_t"), [value]) == [fragment]


def test_stacks_are_addresses_in_hexadecimal() -> None:
    stacks = [b"", np.array([0xFFFFFFFF81000000, 16], np.uint64).tobytes() + b"torn"]

    assert render.text(column("stack_t"), stacks) == ["", "0xffffffff81000000;0x10"]
    assert render.json(column("stack_t"), stacks) == ["[]", '["0xffffffff81000000","0x10"]']


@pytest.mark.parametrize(
    ("meaning", "kind", "values", "texts", "fragments"),
    [
        ("tgid_t", "uint", [0, 4194304], ["0", "4194304"], ["0", "4194304"]),
        ("fd_t", "int", [-1, 3], ["-1", "3"], ["-1", "3"]),
        ("u64", "uint", [2**64 - 1], [str(2**64 - 1)], [str(2**64 - 1)]),
        ("bool", "bool", [0, 1], ["false", "true"], ["false", "true"]),
        (
            "errno_t",
            "uint",
            [0, 2, 13, 512, 4000],
            ["", "ENOENT", "EACCES", "ERESTARTSYS", "4000"],
            ['""', '"ENOENT"', '"EACCES"', '"ERESTARTSYS"', '"4000"'],
        ),
        (
            "signal_t",
            "uint",
            [0, 9, 11, 35, 99],
            ["", "SIGKILL", "SIGSEGV", "SIGRTMIN+1", "99"],
            ['""', '"SIGKILL"', '"SIGSEGV"', '"SIGRTMIN+1"', '"99"'],
        ),
        (
            "open_flags_t",
            "uint",
            [0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_TMPFILE | os.O_RDWR, 1 << 30],
            ["O_RDONLY", "O_WRONLY|O_CREAT|O_TRUNC", "O_RDWR|O_TMPFILE", "O_RDONLY|0x40000000"],
            None,
        ),
        ("file_mode_t", "uint", [0, 0o644, 0o4755], ["0000", "0644", "4755"], None),
        (
            "duration_t",
            "uint",
            [0, 999, 1500, 2_500_000, 61_000_000_000],
            ["0ns", "999ns", "1.500us", "2.500ms", "61.000s"],
            ["0", "999", "1500", "2500000", "61000000000"],
        ),
        ("boot_ns_t", "uint", [1_000_000_007], ["1.000000007"], ["1000000007"]),
        ("port_t", "uint", [0, 65535], ["0", "65535"], ["0", "65535"]),
        ("inode_t", "uint", [2**40], [str(2**40)], [str(2**40)]),
        (
            "capability_t",
            "uint",
            [0, 21, 40, 41],
            ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE", "41"],
            None,
        ),
        (
            "file_type_t",
            "uint",
            [0, 0o100644, 0o040755, 0o120777, 0o010000, 0o020000, 0o060000, 0o140000, 0o030000],
            ["", "file", "directory", "link", "fifo", "character", "block", "socket", "3"],
            None,
        ),
        ("device_t", "uint", [8 << 20 | 1, 254 << 20], ["8:1", "254:0"], None),
        ("ipc_key_t", "uint", [0, 0x1234ABCD], ["0x00000000", "0x1234abcd"], None),
        (
            "percent_t",
            "uint",
            [0, 5, 1234, 10_000],
            ["0.00%", "0.05%", "12.34%", "100.00%"],
            ["0.00", "0.05", "12.34", "100.00"],
        ),
        ("u32[2]", "list", [[1, 2], [3, 4]], ["[1,2]", "[3,4]"], ["[1,2]", "[3,4]"]),
        (
            "log2_t[]",
            "list",
            [[0, 3, 0, 7, 0, 0], [0] * 6, [1] * 6],
            ["[0,3,0,7]", "[]", "[1,1,1,1,1,1]"],
            ["[0,3,0,7]", "[]", "[1,1,1,1,1,1]"],
        ),
        ("float", "float", [0.5, float("nan")], ["0.5", "nan"], ["0.5", "null"]),
    ],
)
def test_numbers(
    meaning: str, kind: Kind, values: list[Any], texts: list[str], fragments: Sequence[str] | None
) -> None:
    array = np.array(values, dtype=np.uint64 if max(np.ravel(values)) >= 2**63 else None)
    shown = column(meaning, kind)

    assert render.text(shown, array) == texts
    assert render.json(shown, array) == (fragments or [f'"{text}"' for text in texts])


@pytest.mark.parametrize(
    ("meaning", "address", "text"),
    [
        ("ip_t", "::ffff:10.0.0.1", "10.0.0.1"),
        ("ip_t", "::ffff:0.0.0.0", "0.0.0.0"),
        ("ip_t", "::", "::"),
        ("ip_t", "::1", "::1"),
        ("ip_t", "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("ip_t", "fe80::1", "fe80::1"),
        ("ipv6_t", "::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("ipv6_t", "64:ff9b::1", "64:ff9b::1"),
    ],
)
def test_addresses_of_ipv6_and_of_either_kind(meaning: str, address: str, text: str) -> None:
    array = np.array([socket.inet_pton(socket.AF_INET6, address)], dtype="V16")
    shown = Column("x", meaning, "bytes", 0, 16)

    assert render.text(shown, array) == [text]
    assert render.json(shown, array) == [f'"{text}"']


def test_addresses_of_ipv4_stand_in_network_order() -> None:
    array = np.frombuffer(socket.inet_aton("192.168.0.1"), np.uint32)

    assert render.text(column("ipv4_t"), array) == ["192.168.0.1"]
    assert render.json(column("ipv4_t"), array) == ['"192.168.0.1"']


@pytest.mark.parametrize(
    ("machine", "known"),
    [
        ("x86_64", {0: "read", 59: "execve", 257: "openat", 334: "rseq", 435: "clone3"}),
        ("aarch64", {63: "read", 221: "execve", 56: "openat", 293: "rseq", 462: "mseal"}),
    ],
)
def test_system_calls_have_the_numbers_of_their_machine(
    machine: str, known: dict[int, str]
) -> None:
    table = syscalls.table(machine)

    assert {number: table[number] for number in known} == known
    assert 334 not in syscalls.table("aarch64")
    assert syscalls.table("s390x") == {}


def test_system_calls_by_name_and_what_has_none_by_number() -> None:
    shown = column("syscall_t", "int")
    openat = next(number for number, name in syscalls.NATIVE.items() if name == "openat")

    assert render.text(shown, np.array([openat, 400, -1])) == ["openat", "400", "-1"]
    assert render.json(shown, np.array([openat, 400, -1])) == ['"openat"', '"400"', '"-1"']


def test_flags_by_name_largest_first_and_the_rest_in_hexadecimal() -> None:
    shown = column("enum access_flags", "flags", values={1: "read", 2: "write", 3: "both"})

    assert render.text(shown, np.array([0, 1, 3, 17])) == ["", "read", "both", "read|0x10"]
    assert render.json(shown, np.array([3, 16])) == ['"both"', '"0x10"']


def test_a_typedef_of_another_type_than_it_should_be_is_shown_by_that_type() -> None:
    shown = Column("x", "ip_t", "bytes", 0, 4)

    assert render.text(shown, np.array([b"\x0a\0\0\1"], dtype="V4")) == ["0a000001"]
    assert render.text(Column("x", "path_t", "uint", 0, 8), np.array([7])) == ["7"]


def test_enumerations_by_name_and_unknown_values_by_number() -> None:
    shown = column("enum kind", "enum", values={1: "exec", 2: "exit"})

    assert render.text(shown, np.array([1, 2, 7])) == ["exec", "exit", "7"]
    assert render.json(shown, np.array([1, 2, 7])) == ['"exec"', '"exit"', '"7"']


def test_bytes_in_hexadecimal() -> None:
    shown = column("u8[2]", "bytes")
    array = np.array([b"\0\xff"], dtype="V2")

    assert render.text(shown, array) == ["00ff"]
    assert render.json(shown, array) == ['"00ff"']
