# SPDX-License-Identifier: Apache-2.0
"""Rows on standard output: at a bounded rate, in whole lines, never holding up the agent."""

import fcntl
import json
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.sinks.log import PATIENCE_SECONDS, LineWriter, LogSink
from eunomia_agent.sinks.rows import Rows


@dataclass
class Pipe:
    """A pipe of two pages."""

    reader: int
    writer: int

    def read(self) -> bytes:
        os.set_blocking(self.reader, False)
        parts: list[bytes] = []
        while select.select([self.reader], [], [], 0)[0] and (part := os.read(self.reader, 65536)):
            parts.append(part)
        return b"".join(parts)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    yield Pipe(reader, writer)
    os.close(reader)
    os.close(writer)


ToRows = Callable[[Owner, Sequence[bytes]], Rows]


@pytest.fixture
def rows(of_lines: ToRows) -> ToRows:
    return of_lines


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_row_says_its_job_first(pipe: Pipe, web: Owner, rows: ToRows) -> None:
    sink = LogSink(LineWriter(pipe.writer), 'shop/op"ens')
    assert (
        sink.write(rows(web, [b'{"time":"now","comm":"sh"}', b'{"time":"now","comm":"ls"}'])) == 2
    )
    lines = pipe.read().splitlines()
    assert [next(iter(json.loads(line).items())) for line in lines] == [("job", 'shop/op"ens')] * 2
    assert json.loads(lines[1])["comm"] == "ls"


def test_more_than_the_rate_is_limited_and_comes_again_with_time(web: Owner, rows: ToRows) -> None:
    clock = Clock()
    with open(os.devnull, "wb") as sinkhole:
        sink = LogSink(LineWriter(sinkhole.fileno()), "shop/opens", clock=clock)
        assert sink.write(rows(web, [b"{}"] * 1500)) == 1000
        assert (sink.limited, sink.problem) == (500, None)
        assert sink.write(rows(web, [b"{}"])) == 0
        clock.now += 0.25
        assert sink.write(rows(web, [b"{}"] * 1500)) == 250
        clock.now += 3600
        assert sink.write(rows(web, [b"{}"] * 1500)) == 1000, (
            "no more than a second's worth at once"
        )
        sink.close()


def test_slow_reader_costs_rows_but_neither_time_nor_half_a_line(
    pipe: Pipe, web: Owner, rows: ToRows
) -> None:
    sink = LogSink(LineWriter(pipe.writer), "shop/opens", rows_per_second=100_000)
    wanted = [json.dumps({"n": number, "pad": "x" * 150}).encode() for number in range(1000)]
    began = time.monotonic()
    accepted = sink.write(rows(web, wanted))
    assert time.monotonic() - began < 20 * PATIENCE_SECONDS
    assert 0 < accepted < 1000
    assert sink.limited == 0
    assert sink.problem == "standard output: its reader is too slow"
    text = pipe.read()
    assert text.endswith(b"\n")
    assert [json.loads(line)["n"] for line in text.splitlines()] == list(range(accepted))

    assert sink.write(rows(web, wanted[:10])) == 10
    assert sink.problem is None


def test_what_is_above_the_rate_is_limited_though_the_reader_is_slow(
    pipe: Pipe, web: Owner, rows: ToRows
) -> None:
    sink = LogSink(LineWriter(pipe.writer), "shop/opens", rows_per_second=300, clock=Clock())
    assert 0 < sink.write(rows(web, [b'{"pad":"%s"}' % (b"x" * 150)] * 1000)) < 300
    assert sink.limited == 700


def test_reader_that_stands_still_is_waited_for_once_and_not_for_each_container(
    pipe: Pipe, web: Owner, rows: ToRows
) -> None:
    writer = LineWriter(pipe.writer)
    sinks = [LogSink(writer, f"shop/job-{number}") for number in range(40)]
    sinks[0].write(rows(web, [b'{"pad":"%s"}' % (b"x" * 1000)] * 100))
    began = time.monotonic()
    assert [sink.write(rows(web, [b"{}"])) for sink in sinks] == [0] * 40
    assert time.monotonic() - began < 40 * PATIENCE_SECONDS
    assert sinks[-1].problem == "standard output: its reader is too slow"
    pipe.read()
    assert [sink.write(rows(web, [b"{}"])) for sink in sinks] == [1] * 40, (
        "as soon as it reads again"
    )


def test_line_longer_than_the_pipe_is_ended_by_whoever_writes_next(
    pipe: Pipe, web: Owner, rows: ToRows
) -> None:
    writer = LineWriter(pipe.writer)
    first, second = LogSink(writer, "shop/first"), LogSink(writer, "shop/second")
    assert first.write(rows(web, [b'{"pad":"%s"}' % (b"x" * 10_000)])) == 1, (
        "begun, so it will be ended"
    )
    text = pipe.read()
    assert second.write(rows(web, [b'{"n":1}'])) == 1
    text += pipe.read()
    told = [json.loads(line) for line in text.splitlines()]
    assert [each["job"] for each in told] == ["shop/first", "shop/second"]
    assert len(told[0]["pad"]) == 10_000


def test_reader_that_is_gone_costs_rows_and_nothing_else(web: Owner, rows: ToRows) -> None:
    reader, writer = os.pipe()
    sink = LogSink(LineWriter(writer), "shop/opens")
    os.close(reader)
    assert sink.write(rows(web, [b"{}"] * 3)) == 0
    assert (sink.limited, sink.problem) == (0, "standard output: its reader is gone")
    os.close(writer)


def test_standard_output_that_was_closed_costs_rows_and_nothing_else(
    web: Owner, rows: ToRows
) -> None:
    reader, writer = os.pipe()
    sink = LogSink(LineWriter(writer), "shop/opens")
    os.close(writer)
    os.close(reader)
    assert sink.write(rows(web, [b"{}"] * 3)) == 0
    assert (sink.limited, sink.problem) == (0, "standard output: Bad file descriptor")


def test_rows_from_the_ring_are_told_as_far_as_the_rate_allows(
    pipe: Pipe, opens: Callable[[int, int], Rows]
) -> None:
    sink = LogSink(LineWriter(pipe.writer), "shop/opens", rows_per_second=20, clock=Clock())
    assert sink.write(opens(0, 50)) == 20
    assert (sink.limited, sink.problem) == (30, None)
    told = [json.loads(line) for line in pipe.read().splitlines()]
    assert [(row["job"], row["pid"], row["path"]) for row in told] == [
        ("shop/opens", number, f"/{number}") for number in range(20)
    ]


def test_descriptor_is_left_as_it_is_for_its_other_users(
    pipe: Pipe, web: Owner, rows: ToRows
) -> None:
    LogSink(LineWriter(pipe.writer), "shop/opens").write(rows(web, [b"{}"]))
    assert os.get_blocking(pipe.writer)


def test_full_disk_behind_standard_output_tears_no_line(
    small_disk, web: Owner, rows: ToRows
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (40 << 10))
    out = os.open(small_disk / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sink = LogSink(LineWriter(out), "shop/opens")
    wanted = [json.dumps({"n": number, "pad": "x" * 150}).encode() for number in range(500)]
    accepted = sink.write(rows(web, wanted))
    assert 0 < accepted < 500
    assert (sink.limited, sink.problem) == (0, "standard output: No space left on device")
    ballast.unlink()
    assert sink.write(rows(web, [b'{"n":1000}'])) == 1
    os.close(out)
    lines = (small_disk / "out").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [*range(accepted), 1000]
