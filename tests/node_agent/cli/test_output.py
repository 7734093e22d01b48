# SPDX-License-Identifier: Apache-2.0
"""What rows look like, and what the last line says of them."""

import csv
import json
import os
import resource
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from eunomia_agent.cli.catalogue import tracker
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.files import Files
from eunomia_agent.cli.formats import OWNER, Csv, Json
from eunomia_agent.cli.job import Use, condition, job
from eunomia_agent.cli.options import DEFAULTS
from eunomia_agent.cli.stdout import StdoutSink
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.summary import summary
from eunomia_agent.cli.table import Table
from eunomia_agent.cli.target import cgroup_path, of_containers
from eunomia_agent.cli.writer import Writer
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import ContainerUnknown
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Source
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.sinks.rows import Rows, shown
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_api.agent_pb2 import Target

POD = Owner(1, "container", "demo", "web-1", "uid", "web\x1b[31m", "ab" * 32)
SOURCES: tuple[Source, ...] = ("events", "counts")
DAWN = 4 * 3600 * 10**9


def decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines as text, without what ends them."""
    return (line.decode().rstrip("\r") for line in lines)


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


def result(name: str, source: Source, count: int, owner: Owner = POD) -> Rows:
    """Rows of one of a tracker's results, full of zeros."""
    data = (OBJECTS / f"{name}.bpf.o").read_bytes()
    layout = result_layouts(Btf.of_object(data))[source]
    batch = Batch(layout, np.zeros(count, layout.dtype), b"", np.zeros(count, np.uint64))
    interval = None if source == "events" else 1.0
    return Rows(batch, owner, name, node="here", source=source, interval=interval, offset_ns=0)


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


def test_a_table_leaves_it_to_json_to_tell_who_began_a_process() -> None:
    table = Table({"tcp": tracker("tcp")}, screen=None, containers=lambda: False)
    rows = result("tcp", "events", 1)
    assert table.head(rows).split()[-1] == b"RETRANSMITS"
    assert {"ancestors", "ancestor_pids"} <= json.loads(next(iter(rows.json()))).keys()


def test_figures_of_a_whole_container_name_it_or_else_its_cgroup() -> None:
    table = Table({"container": tracker("container")}, screen=80, containers=lambda: False)
    rows = result("container", "counts", 1, Owner(1, "host", path="/system.slice/" + "x" * 30))
    assert table.head(rows).split()[:3] == [b"TIME", b"CONTAINER", b"COUNT"]
    assert [line.split()[1] for line in table.lines(rows)] == [f"…{'x' * 27}".encode()]
    (line,) = table.lines(result("container", "counts", 1, POD))
    assert line.split()[1] == b"demo/web-1/web\\x1b[31m"
    both = {name: tracker(name) for name in ("container", "syscall")}
    table = Table(both, screen=None, containers=lambda: False)
    figures, called = (next(iter(table.lines(each))).decode() for each in (rows, calls([5])))
    assert figures.split()[1:3] == ["/system.slice/" + "x" * 30, "container"]
    assert called[9:].split()[:4] == ["-", "syscall", "cat", "0"]


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


def test_a_name_that_no_thread_can_have_is_refused() -> None:
    assert condition(comm="x" * 15) == f'comm == "{"x" * 15}"'
    with pytest.raises(CommandError, match="keeps 15 bytes of a thread's name"):
        condition(comm="x" * 16)


def test_the_buffer_that_is_asked_for_is_that_of_each_tracker() -> None:
    uses = [Use("opensnoop", {}), Use("process", {})]
    wanted = job(uses, Target(everything=True), buffer=16 << 20, interval=1.0)
    assert wanted.budget.memory_bytes == 2 * 2 * 16 << 20, "a ring counts twice"
    assert DEFAULTS["buffer"] == 16


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


def test_results_of_other_columns_have_files_of_their_own(tmp_path: Path) -> None:
    files = Files(tmp_path, Csv)
    for source in SOURCES:
        assert files.write(result("ipc", source, 2)) == 2
    files.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"demo_web-1_web--31m_abababababab_ipc{end}.csv" for end in ("", "_counts")]
    for name in names:
        lines = list(csv.reader((tmp_path / name).read_text().splitlines()))
        assert lines[0][:2] == ["time", "node"]
        assert {len(line) for line in lines} == {len(lines[0])}


def test_csv_on_a_full_disk_has_its_names_once_there_is_room(
    tmp_path: Path,
) -> None:
    out = os.open(tmp_path / "out.csv", os.O_WRONLY | os.O_CREAT)
    sinks: list[Sink] = [StdoutSink(Writer(out, Stop()), Csv()), Files(tmp_path / "rows", Csv)]
    with files_of(0):
        assert [sink.write(opens([b"/lost"])) for sink in sinks] == [0, 0]
    assert [sink.write(opens([b"/kept"])) for sink in sinks] == [1, 1]
    os.close(out)
    for path in (tmp_path / "out.csv", *(tmp_path / "rows").iterdir()):
        head, row = path.read_text().splitlines()
        assert (head[:10], row[-6:]) == ("time,node,", ",/kept")


def test_csv_writes_a_column_in_one_way_whatever_comes_first() -> None:
    rows = result("ipc", "events", 2)
    kinds = {name: number for number, name in rows.batch.layout.column("kind").values.items()}
    rows.batch.fixed["kind"] = kinds["signal"], kinds["unix"]
    both = [list(Csv().lines(rows.take(np.array(order)))) for order in ([0, 1], [1, 0])]
    assert both[0] == both[1][::-1]
    told = list(csv.DictReader([",".join([*OWNER, *shown(rows.batch.layout)]), *decoded(both[0])]))
    assert [each["kind"] for each in told] == ["signal", "unix"]
    assert [each["result"] != "" for each in told] == [True, False]
    assert not any(field in ("null", '""') for each in told for field in each.values())


def test_csv_names_the_cgroup_of_what_is_no_containers() -> None:
    host = Owner(1, "host", path='/user.slice/a,"b"')
    rows = [*Csv().lines(opens([b"/a"], host)), *Csv().lines(opens([b"/a"]))]
    owners = [(row[6], row[7]) for row in csv.reader(decoded(rows))]
    assert OWNER[6:8] == ("owner", "cgroup")
    assert owners == [("host", '/user.slice/a,"b"'), ("container", "")]


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


@contextmanager
def files_of(size: int) -> Iterator[None]:
    """Let files have so many bytes and no more: a full disk, to the byte.

    Only for a moment: pytest's own output may be a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_a_full_disk_tears_twice_is_whole_in_the_end(
    tmp_path: Path,
) -> None:
    path, line = tmp_path / "out", b"x" * 99 + b"\n"
    out = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = Writer(out, Stop())
    for size, taken in (10, 100), (70, 0), (80, 0):  # begun, so it counts and will be ended
        with files_of(size):
            assert writer.write(line) == taken
        assert (path.stat().st_size, writer.problem) == (size, "File too large")
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


def test_cgroups_go_by_path_and_by_folder(tmp_path: Path) -> None:
    below = tmp_path / "user.slice/\udcff"
    below.mkdir(parents=True)
    for written in (below, Path("/user.slice/\udcff"), Path("user.slice//\udcff/")):
        assert cgroup_path(written, tmp_path) == "/user.slice/\\xff"
    for written in (tmp_path, Path("/")):
        assert cgroup_path(written, tmp_path) == "/"
    with pytest.raises(CommandError, match=r"no cgroup /usr.slice: .* no folder usr.slice"):
        cgroup_path(Path("/usr.slice"), tmp_path)
    with pytest.raises(CommandError, match="no folder etc"):
        cgroup_path(Path("../../../../../../../etc"), tmp_path)
    with pytest.raises(CommandError, match="no hierarchy of cgroups is mounted here"):
        cgroup_path(Path("/"), None)
