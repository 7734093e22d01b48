# SPDX-License-Identifier: Apache-2.0
"""Profiles lie under the kubelet's folder as they were sent, whole, and nowhere else."""

import ctypes
import hashlib
import os
from pathlib import Path

import pytest

from eunomia_agent import seccomp_files as module
from eunomia_agent.seccomp_files import (
    KEEP_SECONDS,
    KEEP_UNSEEN_SECONDS,
    LOOK_SECONDS,
    SeccompFiles,
    problem_of,
)
from eunomia_api import agent_pb2

CONTENT = b'{"defaultAction": "SCMP_ACT_ERRNO"}'
PATH = "eunomia/shop/web-main-3.json"


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def profile(path: str = PATH, content: bytes = CONTENT, sha256: str = "") -> agent_pb2.SeccompFile:
    known = sha256 or hashlib.sha256(content).hexdigest()
    return agent_pb2.SeccompFile(path=path, content=content, sha256=known)


def told(files: SeccompFiles) -> list[tuple[str, str, str]]:
    return [(each.path, each.sha256, each.problem) for each in files.reports()]


def test_what_is_wanted_lies_there_for_the_kubelet_and_its_hash_is_told(tmp_path: Path) -> None:
    root = tmp_path / "seccomp"
    files = SeccompFiles(root)
    mask = os.umask(0o077)
    try:
        files.apply([profile(), profile("eunomia/bank/db-main-1.json", b"{}")])
    finally:
        os.umask(mask)

    lying = root / PATH
    assert lying.read_bytes() == CONTENT
    assert lying.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in lying.parent.iterdir()] == [lying.name]
    assert told(files) == [
        ("eunomia/bank/db-main-1.json", hashlib.sha256(b"{}").hexdigest(), ""),
        (PATH, hashlib.sha256(CONTENT).hexdigest(), ""),
    ]


def test_a_file_that_is_wanted_no_more_stays_for_pods_that_are_starting(
    tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "others.json").write_text("mine")
    files = SeccompFiles(tmp_path)
    files.apply([profile()])
    files.apply([])
    assert told(files) == []
    files.tick(())
    clock.now += KEEP_SECONDS - 1
    files.tick(())
    assert (tmp_path / PATH).exists()

    again = SeccompFiles(tmp_path)  # an agent that starts anew finds what the last one left
    again.apply([])
    again.tick(())
    clock.now += LOOK_SECONDS
    again.tick(())
    clock.now += KEEP_SECONDS
    again.tick(())
    assert not (tmp_path / "eunomia/shop").exists()
    assert (tmp_path / "others.json").read_text() == "mine"


@pytest.mark.parametrize("change", ["gone", "other"])
def test_what_somebody_changed_is_mended(tmp_path: Path, clock: Clock, change: str) -> None:
    files = SeccompFiles(tmp_path)
    files.apply([profile()])
    lying = tmp_path / PATH
    if change == "gone":
        lying.unlink()
    else:
        lying.write_text("{}")
    clock.now += LOOK_SECONDS
    files.tick()
    assert lying.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path",
    [
        "eunomia/../../etc/passwd.json",
        "/etc/eunomia/x.json",
        "eunomia//x.json",
        "eunomia/shop/.json",
        "eunomia/x.json",
        "other/shop/x.json",
        "eunomia/shop/x",
        "eunomia/shop/a\0.json",
    ],
)
def test_no_path_leads_elsewhere(tmp_path: Path, path: str) -> None:
    root = tmp_path / "a" / "b"
    files = SeccompFiles(root)
    files.apply([profile(path), profile()])
    assert (path, "", "its path is not eunomia/NAMESPACE/NAME.json") in told(files)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [root / PATH]


@pytest.mark.parametrize("place", ["eunomia", "eunomia/shop"])
def test_links_of_folders_are_not_followed(tmp_path: Path, place: str) -> None:
    root, victim = tmp_path / "seccomp", tmp_path / "victim"
    (root / place).parent.mkdir(parents=True)
    victim.mkdir()
    (root / place).symlink_to(victim)
    files = SeccompFiles(root)
    files.apply([profile()])
    assert told(files) == [(PATH, "", f"{root / PATH}: Not a directory")]
    assert not list(victim.iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    root, victim = tmp_path / "seccomp", tmp_path / "victim"
    victim.write_text("mine")
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).symlink_to(victim)
    SeccompFiles(root).apply([profile()])
    assert not (root / PATH).is_symlink()
    assert (root / PATH).read_bytes() == CONTENT
    assert victim.read_text() == "mine"


def test_what_an_agent_left_that_was_killed_as_it_wrote_is_in_nobodys_way(tmp_path: Path) -> None:
    left = tmp_path / PATH
    left.parent.mkdir(parents=True)
    (left.parent / f".{left.name}.new").write_text("half of i")
    files = SeccompFiles(tmp_path)
    files.apply([profile()])
    assert told(files) == [(PATH, hashlib.sha256(CONTENT).hexdigest(), "")]
    assert [each.name for each in left.parent.iterdir()] == [left.name]


def test_profiles_that_are_too_many_for_a_node_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 1)
    files = SeccompFiles(tmp_path)
    files.apply([profile(), profile("eunomia/shop/z.json")])
    assert told(files) == [
        (PATH, hashlib.sha256(CONTENT).hexdigest(), ""),
        ("eunomia/shop/z.json", "", "a node takes at most 1 profiles"),
    ]


def test_what_is_wrong_is_not_written_and_what_was_there_stays(tmp_path: Path) -> None:
    def check(content: bytes) -> str | None:
        return "libseccomp knows no call nonsense" if b"nonsense" in content else None

    files = SeccompFiles(tmp_path, check)
    files.apply([profile()])
    lies = hashlib.sha256(CONTENT).hexdigest()

    files.apply([profile(content=b'{"nonsense": 1}')])
    assert told(files) == [(PATH, lies, "libseccomp knows no call nonsense")]
    files.apply([profile(content=b"{}", sha256="0" * 64)])
    ((_, sha256, problem),) = told(files)
    assert sha256 == lies
    assert problem.endswith(f"not {'0' * 64} as it should be")
    files.apply([profile(content=bytes(300_000))])
    assert told(files)[0][2] == "it is longer than 262144 bytes"
    assert (tmp_path / PATH).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_to_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = SeccompFiles(tmp_path / "file")
    files.apply([profile()])
    ((_, sha256, problem),) = told(files)
    assert (sha256, problem) == ("", f"{tmp_path}/file/{PATH}: Not a directory")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT, None),
        (b"{", "it is no JSON: Expecting property name"),
        (b"[]", "it is no JSON object"),
        (b'{"defaultAction": "SCMP_ACT_MAYBE"}', "action 'SCMP_ACT_MAYBE' is not known"),
    ],
)
def test_a_profile_of_which_no_filter_can_be_made_is_told(
    content: bytes, problem: str | None
) -> None:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("needs libseccomp.so.2")
    found = problem_of(content)
    assert found is None if problem is None else (found or "").startswith(problem)


def test_a_file_stays_as_long_as_a_container_wears_it(tmp_path: Path, clock: Clock) -> None:
    files = SeccompFiles(tmp_path)
    files.apply([profile(), profile("eunomia/bank/db-main-1.json", b"{}")])
    files.apply([])
    assert files.any_here

    def passes(seconds: float, worn: set[str] | None, *, sure: bool = True) -> list[str]:
        for wait in (0.0, LOOK_SECONDS, seconds):
            clock.now += wait
            files.tick(worn, sure=sure)
        return sorted(each.name for each in tmp_path.rglob("*.json"))

    assert passes(KEEP_SECONDS, None) == ["db-main-1.json", "web-main-3.json"]
    assert passes(LOOK_SECONDS, {PATH}) == ["db-main-1.json", "web-main-3.json"]
    assert passes(KEEP_SECONDS, set(), sure=False) == ["db-main-1.json", "web-main-3.json"]
    assert passes(LOOK_SECONDS, {PATH}) == ["web-main-3.json"]
    assert passes(KEEP_SECONDS - LOOK_SECONDS, set()) == ["web-main-3.json"]
    assert files.any_here
    assert passes(KEEP_SECONDS, set()) == []
    assert not files.any_here


def test_a_file_is_removed_in_the_end_where_nobody_looks_at_pods(
    tmp_path: Path, clock: Clock
) -> None:
    files = SeccompFiles(tmp_path)
    files.apply([profile()])
    files.apply([])
    clock.now += KEEP_UNSEEN_SECONDS
    files.tick()
    assert not (tmp_path / PATH).exists()


def test_one_thing_that_cannot_be_removed_keeps_nothing_else(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    files = SeccompFiles(tmp_path)
    files.apply([profile()])
    (tmp_path / "eunomia/shop/a folder.json").mkdir()
    files.apply([])
    clock.now += KEEP_UNSEEN_SECONDS
    files.tick()
    assert not (tmp_path / PATH).exists()
    assert "eunomia/shop/a folder.json is wanted no more, and stays" in caplog.text


def test_the_longest_name_that_is_taken_can_be_written(tmp_path: Path) -> None:
    longest = "eunomia/shop/" + 235 * "x" + ".json"
    files = SeccompFiles(tmp_path)
    files.apply([profile(longest), profile(longest.replace(".json", "x.json"))])
    assert [bool(problem) for _, _, problem in told(files)] == [False, True]
    assert (tmp_path / longest).read_bytes() == CONTENT
