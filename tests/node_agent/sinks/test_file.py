# SPDX-License-Identifier: Apache-2.0
"""Files of rows: whole lines, bounded, and in no place but their own."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.sinks.file import FileSink, file_name
from eunomia_agent.sinks.rows import Rows

WEB_FILE = "shop_web-0_nginx_1b1b1b1b1b1b.jsonl"


class NumberedRows(Protocol):
    def __call__(self, owner: Owner, first: int, count: int, width: int = 0) -> Rows: ...


@pytest.fixture
def rows(of_lines: Callable[[Owner, Sequence[bytes]], Rows]) -> NumberedRows:
    def make(owner: Owner, first: int, count: int, width: int = 0) -> Rows:
        numbered = range(first, first + count)
        lines = [json.dumps({"n": number, "pad": "x" * width}).encode() for number in numbered]
        return of_lines(owner, lines)

    return make


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_each_container_has_a_file_of_its_own_that_only_we_can_read(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    root = tmp_path / "rows"
    sink = FileSink(root, "shop/opens")
    side = replace(web, container="sidecar", container_id="2c" * 32)
    assert sink.write(rows(web, 0, 3)) == 3
    assert sink.write(rows(side, 3, 1)) == 1
    assert sink.write(rows(web, 4, 1)) == 1
    assert sink.write(rows(Owner(1, "host"), 5, 1)) == 1
    sink.close()
    sink.close()
    folder = root / "shop/opens"
    assert {path.name: numbers(path) for path in folder.iterdir()} == {
        WEB_FILE: [0, 1, 2, 4],
        "shop_web-0_sidecar_2c2c2c2c2c2c.jsonl": [3],
        "host.jsonl": [5],
    }
    assert [oct(each.stat().st_mode & 0o777) for each in (root, folder, folder / WEB_FILE)] == [
        "0o700",
        "0o700",
        "0o600",
    ]
    assert sink.problem is None


def test_job_without_a_namespace_cannot_be_mistaken_for_one_with(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    FileSink(tmp_path, "opens").write(rows(web, 0, 1))
    assert numbers(tmp_path / "_cluster/opens" / WEB_FILE) == [0]


def test_nothing_is_made_before_the_first_row(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    sink = FileSink(tmp_path, "shop/opens")
    assert sink.write(rows(web, 0, 0)) == 0
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_agent_that_starts_again_goes_on_in_the_same_file(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    for number in range(3):
        sink = FileSink(tmp_path, "shop/opens")
        sink.write(rows(web, number, 1))
        sink.close()
    assert numbers(tmp_path / "shop/opens" / WEB_FILE) == [0, 1, 2]


def test_full_file_is_rotated_and_the_oldest_dropped(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    sink = FileSink(tmp_path, "shop/opens", max_bytes=1000, backups=2)
    for number in range(0, 400, 40):
        assert sink.write(rows(web, number, 40)) == 40
    sink.close()
    folder = tmp_path / "shop/opens"
    names = [f"{WEB_FILE}.2", f"{WEB_FILE}.1", WEB_FILE]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    kept = [number for name in names for number in numbers(folder / name)]
    assert kept == list(range(kept[0], 400)), "the last rows, without a gap"
    assert all((folder / name).stat().st_size <= 1000 for name in names)


def test_batch_larger_than_a_file_is_spread_over_several(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    sink = FileSink(tmp_path, "shop/opens", max_bytes=1000, backups=9)
    assert sink.write(rows(web, 0, 200)) == 200
    folder = tmp_path / "shop/opens"
    kept = sorted(number for path in folder.iterdir() for number in numbers(path))
    assert kept == list(range(200))
    assert sink.write(rows(web, 200, 1, width=5000)) == 1, "a row longer than a file has its own"
    assert numbers(folder / WEB_FILE) == [200]
    sink.close()


def test_all_files_of_a_job_together_are_bounded(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    sink = FileSink(tmp_path, "shop/opens", max_bytes=1000, backups=1, total_bytes=5000)
    for number in range(100):
        owner = replace(web, container_id=f"{number:012x}" + "0" * 52)
        assert sink.write(rows(owner, number * 10, 10)) == 10
        os.utime(tmp_path / "shop/opens" / file_name(owner), (number, number))
    paths = list((tmp_path / "shop/opens").iterdir())
    assert sum(path.stat().st_size for path in paths) <= 5000
    kept = sorted(number for path in paths for number in numbers(path))
    assert kept == list(range(kept[0], 1000)), "those longest without a row went first"
    sink.close()


def test_files_of_jobs_that_are_gone_make_room_for_new_ones(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    """A loop that makes a job, lets it write and deletes it, and one job that goes on."""
    lasting = FileSink(tmp_path, "shop/lasting", all_bytes=20 << 18)
    for number in range(100):
        assert lasting.write(rows(web, number, 1)) == 1
        sink = FileSink(tmp_path, f"team-{number // 10}/job-{number}", all_bytes=20 << 18)
        assert sink.write(rows(web, number, 2, width=1000)) == 2
        sink.close()
        for file in tmp_path.glob(f"*/job-{number}/*"):
            os.utime(file, (number, number))
    assert sink.problem is None
    kept = sorted(int(path.name.removeprefix("job-")) for path in tmp_path.glob("*/job-*"))
    assert kept == list(range(kept[0], 100)), "folders of the oldest are gone"
    assert 15 <= len(kept) < 20
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "team-8", "team-9"}
    assert numbers(tmp_path / "shop/lasting" / WEB_FILE) == list(range(100))
    lasting.close()


def test_large_files_of_other_jobs_go_before_the_one_that_is_written(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    old = FileSink(tmp_path, "shop/old", all_bytes=4 << 20)
    assert old.write(rows(web, 0, 3000, width=1000)) == 3000
    new = FileSink(tmp_path, "shop/new", all_bytes=4 << 20)
    for number in range(60):
        assert new.write(rows(web, number * 50, 50, width=1000)) == 50
    assert not (tmp_path / "shop/old").exists()
    assert numbers(tmp_path / "shop/new" / WEB_FILE) == list(range(3000))
    assert old.write(rows(web, 0, 1)) == 1, "its folder is made again"
    for sink in (old, new):
        sink.close()


def test_more_containers_than_open_files(tmp_path: Path, web: Owner, rows: NumberedRows) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sink = FileSink(tmp_path, "shop/opens")
    for turn in range(2):
        for number in range(200):
            owner = replace(web, container_id=f"{number:012x}" + "0" * 52)
            assert sink.write(rows(owner, turn, 1)) == 1
    assert len(os.listdir("/proc/self/fd")) < before + 80
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before
    paths = list((tmp_path / "shop/opens").iterdir())
    assert [numbers(path) for path in paths] == [[0, 1]] * 200


def test_full_disk_refuses_rows_tears_none_and_is_got_over(
    small_disk: Path, web: Owner, rows: NumberedRows
) -> None:
    sink = FileSink(small_disk, "shop/opens")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (32 << 10))
    wanted = rows(web, 0, 100, width=1000)
    accepted = sink.write(wanted)
    assert 0 < accepted < 100
    assert "No space left on device" in str(sink.problem)
    assert sink.limited == 0
    file = small_disk / "shop/opens" / WEB_FILE
    assert numbers(file) == list(range(accepted)), "whole lines alone"
    assert sink.write(rows(web, 500, 2, width=5000)) == 0

    ballast.unlink()
    assert sink.write(rows(web, 1000, 1)) == 1
    assert sink.problem is None
    assert numbers(file) == [*range(accepted), 1000]
    sink.close()


def test_rows_from_the_ring_are_rendered_once_for_all_files_and_no_disk_tears_them(
    small_disk: Path, tmp_path: Path, opens: Callable[[int, int], Rows]
) -> None:
    """One job's disk is full, the other's is not; both are handed the same rows."""
    full, roomy = FileSink(small_disk, "shop/full"), FileSink(tmp_path / "roomy", "shop/roomy")
    rows = opens(0, 2000)
    accepted = full.write(rows)
    assert 0 < accepted < 2000
    assert full.problem == f"shop/full/{WEB_FILE}: No space left on device"
    assert (roomy.write(rows), roomy.problem) == (2000, None)

    def told(file: Path) -> list[tuple[int, str]]:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [(line["pid"], line["path"]) for line in lines]

    every = [(number, f"/{number}") for number in range(2000)]
    assert told(small_disk / "shop/full" / WEB_FILE) == every[:accepted]
    assert told(tmp_path / "roomy/shop/roomy" / WEB_FILE) == every

    assert full.write(rows.take(slice(accepted, None))) == 0, "still full"
    (small_disk / "shop/full" / WEB_FILE).unlink()
    assert full.write(rows.take(slice(accepted, accepted + 10))) == 10
    assert (told(small_disk / "shop/full" / WEB_FILE), full.problem) == (
        every[accepted : accepted + 10],
        None,
    )
    for sink in (full, roomy):
        sink.close()


def test_file_and_folder_that_are_removed_are_made_again(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    sink = FileSink(tmp_path, "shop/opens")
    folder = tmp_path / "shop/opens"
    sink.write(rows(web, 0, 1))
    (folder / WEB_FILE).unlink()
    assert sink.write(rows(web, 1, 1)) == 1
    assert numbers(folder / WEB_FILE) == [1]
    (folder / WEB_FILE).unlink()
    folder.rmdir()
    assert sink.write(rows(web, 2, 1)) == 1
    assert numbers(folder / WEB_FILE) == [2]
    sink.close()


def test_what_is_written_does_not_stay_in_memory(
    tmp_path: Path, web: Owner, rows: NumberedRows
) -> None:
    if not shutil.which("fincore"):
        pytest.skip("needs fincore, of util-linux 2.30 or newer")
    if (tmp_path.stat().st_dev >> 8) == 0:
        pytest.skip("needs a folder on a disk: pages of tmpfs are the file")
    sink = FileSink(tmp_path, "shop/opens")
    batch = rows(web, 0, 250, width=1000)
    for _ in range(128):
        assert sink.write(batch) == 250
        time.sleep(0.002)  # as between batches; write-back takes a moment
    file = tmp_path / "shop/opens" / WEB_FILE
    cached = subprocess.run(
        ["fincore", "-b", "-n", "-o", "RES", file], capture_output=True, text=True, check=True
    )
    assert file.stat().st_size > 32_000_000
    assert int(cached.stdout) < 8_000_000
    sink.close()


@pytest.mark.parametrize("trap", ["file link", "folder link", "hard link", "pipe"])
def test_no_trap_leads_rows_astray(
    tmp_path: Path, web: Owner, rows: NumberedRows, trap: str
) -> None:
    precious = tmp_path / "precious"
    root = tmp_path / "rows"
    (root / "shop").mkdir(parents=True)
    file = root / "shop/opens" / WEB_FILE
    if trap == "folder link":
        precious.mkdir()
        (root / "shop/opens").symlink_to(precious)
    else:
        file.parent.mkdir()
        precious.write_text("secret")
        if trap == "file link":
            file.symlink_to(precious)
        elif trap == "hard link":
            file.hardlink_to(precious)
        else:
            os.mkfifo(file)
    sink = FileSink(root, "shop/opens")
    assert sink.write(rows(web, 0, 2)) == 0
    assert sink.problem
    assert not precious.is_dir() or list(precious.iterdir()) == []
    assert precious.is_dir() or precious.read_text() == "secret"

    (root / "shop/opens" if trap == "folder link" else file).unlink()
    assert sink.write(rows(web, 2, 1)) == 1, "as soon as the trap is gone"
    assert (sink.problem, numbers(file)) == (None, [2])
    sink.close()


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        ({"pod": "../../etc/passwd"}, "shop_-.-..-etc-passwd_nginx_1b1b1b1b1b1b.jsonl"),
        ({"namespace": ".."}, "-._web-0_nginx_1b1b1b1b1b1b.jsonl"),
        ({"container": "a\n\x1b[2J\udcff"}, "shop_web-0_a---2J-_1b1b1b1b1b1b.jsonl"),
        ({"pod": "p" * 253}, f"shop_{'p' * 100}_nginx_1b1b1b1b1b1b.jsonl"),
        ({"pod": "a_b"}, "shop_a-b_nginx_1b1b1b1b1b1b.jsonl"),
        ({"kind": "unknown"}, "unknown_1b1b1b1b1b1b.jsonl"),
        ({"kind": "unknown", "container_id": ""}, "unknown_7.jsonl"),
    ],
)
def test_names_that_are_not_trusted_become_safe(
    tmp_path: Path, web: Owner, rows: NumberedRows, hostile: dict[str, str], name: str
) -> None:
    owner = replace(web, **hostile)
    assert file_name(owner) == name
    sink = FileSink(tmp_path, "../../..")
    assert sink.write(rows(owner, 0, 1)) == 1
    sink.close()
    assert [path.name for path in tmp_path.glob("-.-../-./*")] == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["-.-.."]
