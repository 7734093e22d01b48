# SPDX-License-Identifier: Apache-2.0
"""What a real runtime does breaks no built-in rule, and nobody passes for one."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.rules.guard import Guard
from eunomia_agent.rules.replay import Kept
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2, library
from eunomia_api.message import rule_message

pytestmark = pytest.mark.bpf

TRACKERS = ("access", "execution", "privileged")
PROGRAMS = ("sh", "cp", "chroot", "ls", "sleep", "touch", "true")
SERVE = "ls /bin; touch /tmp/done; sleep 100"
FORGE = "cp /bin/busybox /runc; ln -s /runc /tmp/chroot; touch /tmp/done; /tmp/chroot /tmp true;"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A root file system of busybox."""
    if os.geteuid() != 0 or not shutil.which("runc") or not Path("/bin/busybox").exists():
        pytest.skip("needs root, runc and busybox")
    rootfs = tmp_path / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", rootfs / "bin")
    for name in (*PROGRAMS, "ln"):
        (rootfs / "bin" / name).symlink_to("busybox")
    return tmp_path


@pytest.fixture
def lives(
    hierarchy: Path, cgroup: Path, track: Any, bundle: Path
) -> Iterator[Callable[[str], set[str]]]:
    """Runs a script as a container, with an exec into it; returns the rules that were broken."""
    name = f"eunomia-test-{os.getpid()}"

    def runc(*arguments: str) -> int:
        with (bundle / "log").open("a") as log:
            return subprocess.run(
                ["runc", "--root", bundle / "state", *arguments],
                cwd=bundle,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode

    def live(script: str) -> set[str]:
        runc("spec")
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"] |= {"terminal": False, "args": ["/bin/sh", "-c", script]}
        for kind in spec["process"]["capabilities"].values():
            kind.append("CAP_SYS_CHROOT")
        spec["root"]["readonly"] = False
        spec["linux"]["cgroupsPath"] = f"/{cgroup.relative_to(hierarchy)}"
        (bundle / "config.json").write_text(json.dumps(spec))
        trackers = Catalogue.load().trackers
        tracked = {each: track(each, ring_bytes=1 << 24) for each in TRACKERS}
        assert runc("run", "--detach", name) == 0, (bundle / "log").read_text()
        deadline = time.monotonic() + 20
        while not (bundle / "rootfs/tmp/done").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert runc("exec", name, "/bin/true") == 0
        assert runc("kill", name, "KILL") == 0

        built_in = library.built_in().rules
        rules = [rule_message(rule, each) for each, rule in built_in.items()]
        kept = Kept()
        guard = Guard(agent_pb2.Job(uid="p", rules=rules), trackers, kept)
        owner = Owner(cgroup.stat().st_ino, "container", "shop", "web-0", "", "web", "1b" * 32)
        for each in TRACKERS:
            batch = tracked[each].rows()
            guard.write(Rows(batch, owner, each, node="n1", offset_ns=0))
            if each == "access":
                assert set(batch.fixed["runtime"].tolist()) == {0, 1}
        return {alert.rule for alert in kept.alerts}

    yield live
    runc("delete", "--force", name)


def test_a_container_begins_is_entered_and_ends_without_a_false_alarm(
    lives: Callable[[str], set[str]],
) -> None:
    assert lives(SERVE) == set()


def test_who_is_called_runc_is_no_runtime(lives: Callable[[str], set[str]]) -> None:
    assert "container-escape/root-changed" in lives(FORGE + "sleep 100")
