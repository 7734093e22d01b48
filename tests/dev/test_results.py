# SPDX-License-Identifier: Apache-2.0
"""Tests that run in an emulated machine: what they tell on its console, and what is made of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev.kernels.results import MARK, Results, duration

TOLD = """
import pytest

def test_good():
    print("lost in the console")

def test_bad():
    assert [1] == [2]

@pytest.mark.parametrize("each", range(5))
def test_elsewhere(each):
    pytest.skip("needs another kernel")

@pytest.fixture
def broken():
    yield
    raise ValueError("at the end")

def test_ends_badly(broken):
    pass

def test_the_last():
    pass
"""


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Results of a real run of the tests above."""
    (tmp_path / "test_one.py").write_text(TOLD)
    (tmp_path / "test_two.py").write_text("import nonesuch")
    words = [sys.executable, "-m", "pytest", "-p", "dev.kernels.telling", f"--rootdir={tmp_path}"]
    ended = subprocess.run(
        [*words, "-p", "no:cacheprovider", "--continue-on-collection-errors", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    results = Results()
    others = [line for line in ended.stdout.splitlines() if line and not results.hear(line)]
    assert others == []
    return results


def test_every_test_is_told_with_how_it_went_and_why(heard: Results) -> None:
    good, bad = {each.name: each for each in heard.of("passed")}, heard.of("failed")

    assert good.keys() == {"test_one.py::test_good", "test_one.py::test_the_last"}
    assert [each.name for each in bad] == [
        "test_two.py",
        "test_one.py::test_bad",
        "test_one.py::test_ends_badly",
    ]
    for ended, why in zip(bad, ["nonesuch", "assert [1] == [2]", "at the end"], strict=True):
        assert why in ended.text
    assert {each.text for each in heard.of("skipped")} == {"needs another kernel"}
    assert heard.planned == {"test_one.py": 9}


def test_a_summary_names_what_failed_and_why_others_were_skipped(heard: Results) -> None:
    assert heard.summary() == [
        "2 passed, 3 failed, 5 skipped",
        "  failed: test_two.py",
        "  failed: test_one.py::test_bad",
        "  failed: test_one.py::test_ends_badly",
        "  skipped: needs another kernel",
        "    test_one.py::test_elsewhere[0], test_one.py::test_elsewhere[1], "
        "test_one.py::test_elsewhere[2] and 2 more",
    ]
    assert heard.line("test_one.py").startswith("2 passed, 2 failed, 5 skipped in ")


def test_a_machine_that_dies_says_in_which_test() -> None:
    results = Results()
    for told in ('{"planned": {"a.py": 3}}', '{"began": "a.py::one"}'):
        assert results.hear(MARK + told)
    assert not results.hear("Kernel panic - not syncing: Fatal exception")

    assert results.summary() == [
        "no tests",
        "  never came to its end: a.py::one",
        "  without a result: 3 of 3",
    ]
    assert not results.good


def test_a_run_is_good_once_every_test_passed_or_was_skipped() -> None:
    results = Results()
    assert not results.good  # there was none
    results.hear(MARK + '{"planned": {"a.py": 2}}')
    ended = {"seconds": 1.0, "text": ""}
    results.hear(MARK + json.dumps({"ended": "a.py::one", "outcome": "passed", **ended}))
    assert not results.good  # the other never ran
    results.hear(MARK + json.dumps({"ended": "a.py::two", "outcome": "skipped", **ended}))
    assert results.good


def test_times_are_told_as_people_say_them() -> None:
    assert [duration(each) for each in (0.4, 59.6, 250)] == ["0 s", "1 min 0 s", "4 min 10 s"]
