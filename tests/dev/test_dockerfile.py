# SPDX-License-Identifier: Apache-2.0
"""When the images are built again: exactly when what goes into them has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.folders import PROJECT
from dev.image import dockerfile
from dev.image.base import NAME
from dev.image.dockerfile import Stage

IGNORE = "# only these\n*\n!Dockerfile.extra\n!src\n**/__pycache__\nsrc/generated.json\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with a source, a product and a cache."""
    for name, text in {
        "Dockerfile": "FROM scratch\n",
        ".dockerignore": IGNORE,
        "src/deep/code.py": "1",
        "src/deep/__pycache__/code.pyc": "1",
        "src/generated.json": "1",
        "notes.txt": "1",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("src/deep/code.py", True),
        ("src/new.py", True),
        ("Dockerfile", True),
        (".dockerignore", True),
        ("src/deep/__pycache__/code.pyc", False),
        ("src/generated.json", False),
        ("notes.txt", False),
    ],
)
def test_the_digest_changes_with_what_the_image_is_made_of(
    tree: Path, name: str, matters: bool
) -> None:
    before = dockerfile.digest(tree)
    with (tree / name).open("a") as file:
        file.write("# more\n")
    assert (dockerfile.digest(tree) != before) is matters


def test_a_file_that_becomes_executable_or_is_renamed_makes_another_image(tree: Path) -> None:
    before = dockerfile.digest(tree)
    (tree / "src/deep/code.py").chmod(0o755)
    executable = dockerfile.digest(tree)
    (tree / "src/deep/code.py").rename(tree / "src/code.py")
    assert len({before, executable, dockerfile.digest(tree)}) == 3


def test_a_copy_of_the_context_has_the_digest_of_the_original(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in [*dockerfile.context(tree), tree / "Dockerfile"]:
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert dockerfile.digest(copy) == dockerfile.digest(tree)


def test_stages_and_the_bases_that_are_not_stages() -> None:
    text = "FROM a/debian:x-slim AS build\nRUN true\nfrom build as agent\nFROM b:1 AS last\n"
    assert dockerfile.stages(text) == [
        Stage("a/debian:x-slim", "build"),
        Stage("build", "agent"),
        Stage("b:1", "last"),
    ]
    assert dockerfile.bases(text) == ["a/debian:x-slim", "b:1"]


def test_every_base_of_our_dockerfile_can_be_made_here() -> None:
    bases = dockerfile.bases((PROJECT / "Dockerfile").read_text())
    assert bases
    assert all(NAME.fullmatch(base) for base in bases)
