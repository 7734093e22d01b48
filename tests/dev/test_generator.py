# SPDX-License-Identifier: Apache-2.0
"""The generator makes exactly as many calls as it was told, and says so."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from dev.folders import PROJECT


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, compiled as its image is."""
    program = tmp_path_factory.mktemp("generator") / "generator"
    source = PROJECT / "dev/image/generator.c"
    subprocess.run(
        ["gcc", "-Os", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True
    )
    return str(program)


def last_word(*argv: str) -> dict[str, object]:
    """What a run says at its end."""
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    first, last = ended.stdout.splitlines()
    assert first == "ready"
    return json.loads(last)


def test_opens_tell_those_that_failed(generator: str, tmp_path: Path) -> None:
    for i in (0, 4):
        (tmp_path / f"there-{i}").touch()
    assert last_word(generator, "opens", "7", f"{tmp_path}/there") == {
        "form": "opens",
        "done": 7,
        "succeeded": 2,
        "failed": 5,
    }


def test_execs_run_it_again_and_at_the_rate_asked_for(generator: str) -> None:
    begun = time.monotonic()
    assert last_word(generator, "execs", "11", "marker", "50") == {
        "form": "execs",
        "done": 11,
        "succeeded": 11,
        "failed": 0,
    }
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("words", [[], ["opens"], ["opens", "-1", "/x"], ["execs", "1e3", "m"]])
def test_words_that_make_no_sense_are_refused(generator: str, words: list[str]) -> None:
    ended = subprocess.run([generator, *words], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
