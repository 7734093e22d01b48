# SPDX-License-Identifier: Apache-2.0
"""The build of what runs in the kernel, in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("clang") is None:
        pytest.skip("needs clang to compile BPF programs")
    tree = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "hatch_build.py", tree)
    for folder in ("bpf", "api", "node_agent"):
        ignored = shutil.ignore_patterns("*.o", "*.so", "catalogue.json", "__pycache__")
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignored)
    done = build(tree)
    assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture
def tree(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "tree"))


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "hatch_build.py"],
        cwd=tree,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def products(tree: Path) -> dict[str, int]:
    agent = tree / "node_agent/eunomia_agent"
    found = [*(agent / "objects").iterdir(), agent / "kernel/libgather.so"]
    found.append(tree / "api/eunomia_api/catalogue.json")
    return {path.name: path.stat().st_mtime_ns for path in found}


def test_a_build_makes_everything_and_a_second_one_nothing(tree: Path) -> None:
    before = products(tree)
    assert {"cgroups.bpf.o", "opensnoop.bpf.o", "opensnoop.yaml", "libgather.so"} <= before.keys()

    assert build(tree, PATH="/nowhere").returncode == 0

    assert products(tree) == before


def test_only_what_is_older_than_its_source_is_made_anew(tree: Path) -> None:
    before = products(tree)
    (tree / "bpf/trackers/process.yaml").touch()

    assert build(tree, PATH="/nowhere").returncode == 0

    after = products(tree)
    assert {n for n in after if after[n] != before[n]} == {"process.yaml", "catalogue.json"}


def test_part_of_another_build_that_vanishes_does_no_harm(tree: Path) -> None:
    objects = tree / "node_agent/eunomia_agent/objects"
    (objects / ".process.bpf.o.99999").symlink_to("gone")  # there to list, and not to stat
    (tree / "bpf/trackers/process.yaml").touch()

    done = build(tree)

    assert (done.returncode, done.stderr) == (0, "")


def test_without_clang_one_sentence_says_what_to_install(tree: Path) -> None:
    (tree / "bpf/trackers/process.bpf.c").touch()

    done = build(tree, PATH="/nowhere")

    assert done.returncode == 1
    assert done.stderr == (
        "build: clang is not installed; it compiles the parts that run in the kernel. "
        "On Debian and Ubuntu: apt-get install clang llvm libbpf-dev\n"
    )


def test_a_tracker_is_one_file_in_c_and_one_description(tree: Path) -> None:
    trackers = tree / "bpf/trackers"
    source = (trackers / "process.bpf.c").read_text()
    (trackers / "procnoop.bpf.c").write_text(source)
    text = (trackers / "process.yaml").read_text()
    (trackers / "procnoop.yaml").write_text(text.replace("name: process", "name: procnoop"))

    assert build(tree).returncode == 0

    assert '"name": "procnoop"' in (tree / "api/eunomia_api/catalogue.json").read_text()
    assert "procnoop.bpf.o" in products(tree)

    (trackers / "procnoop.bpf.c").unlink()
    (trackers / "procnoop.yaml").unlink()
    assert build(tree).returncode == 0
    assert "procnoop.bpf.o" not in products(tree)
    assert "procnoop" not in (tree / "api/eunomia_api/catalogue.json").read_text()


def test_a_description_that_disagrees_with_its_c_stops_the_build_with_file_and_line(
    tree: Path,
) -> None:
    path = tree / "bpf/trackers/process.yaml"
    path.write_text(path.read_text().replace("  ppid:", "  papa:"))
    line = path.read_text().split("  papa:")[0].count("\n") + 1

    done = build(tree)

    assert done.returncode == 1
    told = f"process.yaml:{line}: no column papa in struct event; there are: ancestor_pids,"
    assert told in done.stderr
    assert "column ppid of struct event has no help" in done.stderr


def test_c_that_does_not_compile_stops_the_build_in_the_compilers_words(tree: Path) -> None:
    path = tree / "bpf/trackers/process.bpf.c"
    path.write_text(path.read_text() + "int wrong(void) { return nothing; }\n")

    done = build(tree)

    assert done.returncode == 1
    assert "process.bpf.c" in done.stderr
    assert "use of undeclared identifier 'nothing'" in done.stderr
