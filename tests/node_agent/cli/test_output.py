# SPDX-License-Identifier: Apache-2.0
"""What rows look like, and what the last line says of them."""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from eunomia_agent.cli.catalogue import tracker
from eunomia_agent.cli.files import Files
from eunomia_agent.cli.formats import Csv, Json
from eunomia_agent.cli.job import condition
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.summary import summary
from eunomia_agent.cli.table import Table
from eunomia_agent.cli.target import of_containers
from eunomia_agent.cli.writer import Writer
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import ContainerUnknown
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import OBJECTS

POD = Owner(1, "container", "demo", "web-1", "uid", "web\x1b[31m", "ab" * 32)
DAWN = 4 * 3600 * 10**9


def opens(paths: Sequence[bytes], owner: Owner = POD) -> Rows:
    """Rows of opensnoop; their paths stand in the tail."""
    data = (OBJECTS / "opensnoop.bpf.o").read_bytes()
    layout = result_layouts(Btf.of_object(data))["events"]
    fixed = np.zeros(len(paths), layout.dtype)
    fixed["time"], fixed["pid"], fixed["comm"] = 10**9, 4711, b"cat"
    fixed["path"] = [layout.size | len(path) << 16 for path in paths]
    ends = np.cumsum([len(path) for path in paths])
    starts = np.concatenate([[0], ends[:-1]]).astype(np.uint64)
    batch = Batch(layout, fixed, b"".join(paths), starts)
    return Rows(batch, owner, "opensnoop", node="here", offset_ns=DAWN)


def calls(counts: Sequence[int], time: int = 10**9) -> Rows:
    """Rows of what the kernel counted of system calls."""
    data = (OBJECTS / "syscall.bpf.o").read_bytes()
    layout = result_layouts(Btf.of_object(data))["counts"]
    fixed = np.zeros(len(counts), layout.dtype)
    fixed["time"], fixed["count"], fixed["comm"] = time, counts, b"cat"
    batch = Batch(layout, fixed, b"", np.zeros(len(counts), np.uint64))
    owner = Owner(1, "host")
    return Rows(batch, owner, "syscall", node="here", source="counts", interval=1.0, offset_ns=0)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_table_fits_the_terminal_and_names_the_container() -> None:
    table = Table({"opensnoop": tracker("opensnoop")}, screen=110, containers=lambda: True)
    rows = opens([b"/etc/passwd", b"/" + b"x" * 200])
    head = table.head(rows).decode().rstrip("\n")
    first, second = (line.decode() for line in table.lines(rows))
    assert first.startswith("04:00:01 demo/web-1/web\\x1b[31m")
    assert first[head.index("PATH") :] == "/etc/passwd"
    assert second.endswith("x…")
    assert len(second) - head.index("PATH") == 40
    assert table.head(rows) == b""


def test_counts_have_a_heading_at_each_reading_and_the_most_come_first() -> None:
    table = Table({"syscall": tracker("syscall")}, screen=None, containers=lambda: False)
    assert table.head(calls([1, 2])).startswith(b"TIME")
    assert table.head(calls([3])) == b""
    assert table.head(calls([3], time=2 * 10**9)).startswith(b"\nTIME")
    counts = [int(line.split()[4]) for line in table.lines(calls([5, 70, 6]))]
    assert counts == [70, 6, 5]


@pytest.mark.parametrize(
    ("totals", "line"),
    [
        (Totals(), "0 events, 0 lost, 0 limited: 100 % complete"),
        (Totals(matched=1, delivered=1), "1 event, 0 lost, 0 limited: 100 % complete"),
        (
            Totals(matched=100_000, delivered=99_999, lost_kernel=1),
            "100,000 events, 1 lost, 0 limited: 99 % complete",
        ),
        (
            Totals(matched=9, delivered=2, lost_agent=3, limited=3, sampled_out=1, unclassified=4),
            "9 events, 3 lost, 3 limited, 1 sampled out, 4 unclassified: 22 % complete",
        ),
    ],
)
def test_the_last_line_rounds_down(totals: Totals, line: str) -> None:
    assert summary([totals]) == line


def test_conditions_are_joined_so_that_each_keeps_its_meaning() -> None:
    assert condition("a == 1 || b == 2", uid=0, comm='x"\n') == (
        'uid == 0 && comm == "x\\"\\n" && (a == 1 || b == 2)'
    )
    assert condition("a == 1 || b == 2") == "a == 1 || b == 2"
    assert condition() == ""


def test_files_are_rotated_and_every_one_can_be_read_by_itself(tmp_path: Path) -> None:
    files = Files(tmp_path, Csv, max_bytes=2000)
    rows = opens([b"/some/path/%03d" % i for i in range(60)])
    assert files.write(rows) == 60
    files.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    stem = "demo_web-1_web--31m_abababababab_opensnoop.csv"
    assert names == [stem, f"{stem}.1", f"{stem}.2"]
    texts = [(tmp_path / name).read_text() for name in names]
    assert all(text.startswith("time,node,") and len(text) <= 2000 for text in texts)
    assert texts[0].rstrip().endswith("/some/path/059")


def test_files_that_cannot_be_written_refuse_and_say_so(tmp_path: Path) -> None:
    files = Files(tmp_path, Json)
    (tmp_path / "demo_web-1_web--31m_abababababab.jsonl").symlink_to("/etc/passwd")
    assert files.write(opens([b"/a"])) == 0
    assert files.problem is not None
    assert str(tmp_path) in files.problem


def test_a_line_that_was_begun_is_ended_before_the_next() -> None:
    read, write = os.pipe()
    stop = Stop()
    writer = Writer(write, stop)
    stop.set()  # from here on nobody waits for the reader
    line = b"x" * 1000 + b"\n"
    taken = writer.write(line * 200)
    assert taken % len(line) == 0
    assert 0 < taken < len(line) * 200
    got = b""
    while len(got) < taken - 1001:
        got += os.read(read, 1 << 16)
    writer.write(line)
    got += os.read(read, 1 << 20)
    assert set(got.splitlines()) == {b"x" * 1000}
    os.close(read)
    os.close(write)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Let files have so many bytes and no more: a full disk, to the byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_a_full_disk_tears_twice_is_whole_in_the_end(
    tmp_path: Path, limit_files: Callable[[int], None]
) -> None:
    path, line = tmp_path / "out", b"x" * 99 + b"\n"
    out = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = Writer(out, Stop())
    for size, taken in (10, 100), (70, 0), (80, 0):  # begun, so it counts and will be ended
        limit_files(size)
        assert writer.write(line) == taken
        assert (path.stat().st_size, writer.problem) == (size, "File too large")
    limit_files(1000)
    assert writer.write(b"next\n") == 5
    os.close(out)
    assert path.read_bytes() == line + b"next\n"
    assert writer.problem is None


CONTAINERS = [
    Container("ab" * 32, Sandbox("1", "demo", "web-1"), "web"),
    Container("cd" * 32, Sandbox("1", "demo", "web-1"), "sidecar"),
    Container("ef" * 32, Sandbox("2", "shop", "db-0"), "db"),
]


def test_containers_go_by_name_pod_and_id() -> None:
    named = of_containers(["web", "efef"], CONTAINERS)
    assert (list(named.containers), list(named.container_ids)) == (["web"], ["ef" * 32])
    pods = of_containers(["demo/web-1", "db-0"], CONTAINERS)
    assert list(pods.pod_names) == ["demo/web-1", "db-0"]
    mixed = of_containers(["web-1", "db"], CONTAINERS)
    assert (list(mixed.containers), len(mixed.container_ids)) == (["db"], 2)
    with pytest.raises(ContainerUnknown, match="webb"):
        of_containers(["webb"], CONTAINERS)
