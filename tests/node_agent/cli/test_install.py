# SPDX-License-Identifier: Apache-2.0
"""`pip install .` into an empty environment gives a command that works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PYTHON = Path("/usr/bin/python3")


@pytest.mark.bpf
@pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")
def test_an_installed_command_traces(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python"]
    quickly = ["--quiet", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *quickly, ROOT], check=True, cwd=tmp_path)
    command = environment / "bin/eunomia"
    done = subprocess.run(
        [command, "run", "opensnoop", "-T", "1", "--fmt", "json", "--uid", str(os.geteuid())],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stderr.endswith(" 0 lost, 0 limited: 100 % complete\n")
    told = subprocess.run(
        [command, "trackers"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "opensnoop" in told.stdout
