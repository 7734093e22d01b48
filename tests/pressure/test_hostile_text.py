# SPDX-License-Identifier: Apache-2.0
"""Names, paths and arguments made to harm whoever reads them: a terminal, a parser, a file."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from eunomia_agent.cli.formats import Csv, Json
from eunomia_agent.cli.stdout import Format, StdoutSink
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.table import Table
from eunomia_agent.cli.writer import Writer
from eunomia_agent.sinks.file import FileSink
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
A = Callable[..., Any]
EVIL = (
    b"\x1b[2J\x1b]0;owned\x07",  # clears the screen, names the window
    b"a\nb\r\nc\t\v\f\b\x7f",
    b'"\'`,;\\\\"',
    b"\xff\xfe\xc0\xaf\xed\xa0\x80",  # no UTF-8: bytes, overlong, a surrogate
    "\u202e\u2066\u200f\u2028\u2029\x85\x9b1m\ufeff".encode(),
    b'"} 1\n# HELP x\nevil_total{a="',
    b"=cmd|' /C calc'!A0,%s%n{0}$(id)",
    "é漢🙂".encode(),
)
ACT = """
import ctypes, os, sys
sys.stdin.buffer.read()
libc = ctypes.CDLL(None)
evil = [bytes.fromhex(each) for each in sys.argv[1:]]
for each in evil:
    libc.prctl(15, each[:15], 0, 0, 0)
    for path in (b"/none/" + each, b"/none/" + b"/".join([each.replace(b"/", b"") * 9] * 99)):
        try:
            os.open(path[:4095], os.O_RDONLY)
        except OSError:
            pass
    if not os.fork():
        os.execv(b"/bin/true", [each, each * 3, each])
    os.wait()
"""


class All:
    """Everything that rows can become, at once."""

    name = "all"
    limited = 0
    problem = None

    def __init__(self, folder: Path) -> None:
        catalogue = Catalogue.load()
        names = {name: catalogue.trackers[name] for name in ("opensnoop", "process")}
        self._file = FileSink(folder / "files", "evil/\x1b[2J")
        self._stop = Stop()
        self.texts: dict[tuple[str, str], Path] = {}
        self._out: dict[tuple[str, str], StdoutSink] = {}
        for tracker in names:
            forms: dict[str, Format] = {
                "json": Json(),
                "csv": Csv(),
                "table": Table(names, screen=120, containers=lambda: True),
                "wide": Table(names, screen=None, containers=lambda: True),
            }
            for kind, form in forms.items():
                path = self.texts[tracker, kind] = folder / f"{tracker}.{kind}"
                fd = os.open(path, os.O_WRONLY | os.O_CREAT)
                self._out[tracker, kind] = StdoutSink(Writer(fd, self._stop), form)

    def write(self, rows: Any) -> int:
        for (tracker, _), sink in self._out.items():
            if tracker == rows.tracker:
                assert sink.write(rows) == len(rows)
        return self._file.write(rows)

    def close(self) -> None:
        self._file.close()


def test_nothing_unescaped_reaches_a_terminal_a_file_or_a_scrape(
    machine: A, job: A, tmp_path: Path
) -> None:
    trackers = [
        agent_pb2.Tracker(name="opensnoop", params={"prefix": agent_pb2.Param(text="/none/")}),
        agent_pb2.Tracker(name="process", where="ppid != 1"),
    ]
    every = All(tmp_path)
    running = machine(job(trackers=trackers, memory=64 << 20), sinks=lambda _: [every])
    command = [sys.executable, "-S", "-E", "-c", ACT, *(each.hex() for each in EVIL)]
    actor = subprocess.Popen(command, stdin=subprocess.PIPE)
    actor.communicate(timeout=60)
    assert actor.returncode == 0
    running.wait(lambda: running.total("a").delivered >= 2 * len(EVIL))
    pid = actor.pid
    running.end()

    for path in tmp_path.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("ascii" if "json" in path.suffix else "utf-8")
            assert all(each.isprintable() or each in "\r\n" for each in text), path
            assert path.relative_to(tmp_path).as_posix().isprintable()

    rows = [json.loads(row) for row in every.texts["opensnoop", "json"].read_text().splitlines()]
    opened = [row for row in rows if row["pid"] == pid]
    assert len(opened) == 2 * len(EVIL)
    assert [row["comm"] for row in opened[::2]] == [told(each.rstrip(b"\0")[:15]) for each in EVIL]
    assert [row["path"] for row in opened[::2]] == [told(b"/none/" + each) for each in EVIL]
    long = [b"/none/" + b"/".join([each.replace(b"/", b"") * 9] * 99) for each in EVIL]
    assert [row["path"] for row in opened[1::2]] == [told(each[:4095]) for each in long]
    for tracker in ("opensnoop", "process"):
        check_tables(every, tracker)
    rows = [json.loads(row) for row in every.texts["process", "json"].read_text().splitlines()]
    started = [row for row in rows if row.get("ppid") == pid and row.get("args")]
    assert len(started) >= len(EVIL)
    check_metrics(running)


def told(raw: bytes) -> str:
    """What JSON tells of bytes: text where they are UTF-8, \\xNN where not."""
    return raw.decode(errors="backslashreplace")


def check_tables(every: All, tracker: str) -> None:
    lines = {
        kind: every.texts[tracker, kind].read_text().splitlines()
        for kind in ("json", "table", "wide")
    }
    text = every.texts[tracker, "csv"].read_bytes().decode()
    records = list(csv.reader(io.StringIO(text, newline="")))
    assert len({len(record) for record in records}) == 1
    rows = len(lines["json"])
    assert [len(records) - 1, len(lines["table"]) - 1, len(lines["wide"]) - 1] == [rows] * 3
    assert text.count("\n") == text.count("\r\n") == rows + 1
    assert all(len(line) <= 120 for line in lines["table"])


def check_metrics(running: Any) -> None:
    registry = CollectorRegistry()
    registry.register(running.observed)
    page = generate_latest(registry).decode()
    samples = [
        sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("eunomia_")
    ]
    assert len(samples) > len(EVIL)
    assert not [sample.name for sample in samples if "evil" in sample.name]
    assert all(value.isprintable() for each in samples for value in each.labels.values())
    assert all(each.isprintable() or each == "\n" for each in page)
