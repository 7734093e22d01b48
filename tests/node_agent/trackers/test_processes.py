# SPDX-License-Identifier: Apache-2.0
"""Which cgroup a process is in, told by what is mounted."""

import os
import subprocess
from pathlib import Path

import pytest

from eunomia_agent.errors import CgroupUnknown
from eunomia_agent.trackers.processes import cgroup_of


def tree(root: Path, **listed: str) -> None:
    for name, pids in {"": "1\n", **listed}.items():
        folder = root / name.replace("_", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text(pids)


def test_a_process_is_looked_for_in_the_whole_tree(tmp_path: Path) -> None:
    # to who is in a pid namespace, those outside of it are 0
    tree(
        tmp_path, kubepods="", kubepods_pod="", kubepods_pod_a="0\n0\n", kubepods_pod_b="0\n71\n7\n"
    )
    assert cgroup_of(7, tmp_path) == (tmp_path / "kubepods/pod/b").stat().st_ino


@pytest.mark.parametrize("where", [True, False])
def test_who_is_nowhere_is_told_of_rather_than_guessed(tmp_path: Path, where: bool) -> None:
    tree(tmp_path, a="71\n17\n")
    with pytest.raises(CgroupUnknown, match="kills nobody"):
        cgroup_of(7, tmp_path if where else None)


@pytest.mark.skipif(os.geteuid() != 0, reason="making a cgroup needs root")
def test_the_kernel_knows_the_cgroup_by_the_same_number(hierarchy: Path, cgroup: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        (cgroup / "cgroup.procs").write_text(str(sleeper.pid))
        assert cgroup_of(sleeper.pid, hierarchy) == cgroup.stat().st_ino
        sleeper.kill()
