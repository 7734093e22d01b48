# SPDX-License-Identifier: Apache-2.0
"""A container of a real runtime: learned, then under its profile."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.kernel.object import Object
from eunomia_agent.learning.learner import Learner, Wanted
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_api import agent_pb2
from eunomia_api.profile import allowed_names, merge, profile

pytestmark = pytest.mark.bpf

SERVE = "ls /bin >/tmp/list; mkdir -p /tmp/made; rm -r /tmp/made; touch /tmp/done; sleep 100"
MOUNTS = "mount -t tmpfs none /mnt; echo $? >/tmp/refused;" + SERVE


class Runc:
    """Containers of one bundle, each in a cgroup of its own."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self._number = 0
        self._state = folder / "state"
        self._rootfs = folder / "rootfs"
        for name in ("bin", "proc", "dev", "sys", "tmp", "mnt"):
            (self._rootfs / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self._rootfs / "bin")
        for name in ("sh", "ls", "mkdir", "rm", "touch", "sleep", "mount", "true"):
            (self._rootfs / "bin" / name).symlink_to("busybox")
        self.runc("spec")
        self._spec = json.loads((folder / "config.json").read_text())

    def runc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with (self.folder / "log").open("w") as log:
            return subprocess.run(
                ["runc", "--root", self._state, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                check=False,
            )

    def create(self, script: str, seccomp: Any, *, no_new_privileges: bool) -> tuple[str, Path]:
        """Make a container that waits for its start; returns its name and cgroup."""
        self._number += 1
        name = f"eunomia-test-{os.getpid()}-{self._number}"
        spec = json.loads(json.dumps(self._spec))
        spec["process"] |= {
            "terminal": False,
            "args": ["/bin/sh", "-c", script],
            "noNewPrivileges": no_new_privileges,
        }
        spec["root"]["readonly"] = False
        spec["linux"]["cgroupsPath"] = f"/{name}"
        if seccomp is not None:
            spec["linux"]["seccomp"] = seccomp
        (self.folder / "config.json").write_text(json.dumps(spec))
        (self._rootfs / "tmp" / "done").unlink(missing_ok=True)
        done = self.runc("create", name)
        assert done.returncode == 0, (self.folder / "log").read_text()
        return name, self.root / name

    def is_done(self) -> bool:
        return (self._rootfs / "tmp" / "done").exists()

    def read(self, name: str) -> str:
        return (self._rootfs / "tmp" / name).read_text()


@pytest.fixture
def runc(tmp_path: Path, hierarchy: Path) -> Runc:
    if os.geteuid() != 0 or not shutil.which("runc") or not Path("/bin/busybox").exists():
        pytest.skip("needs root, runc and busybox")
    return Runc(tmp_path, hierarchy)


Lesson = Callable[..., agent_pb2.Learned]


@pytest.fixture
def learn(runc: Runc) -> Lesson:
    """Run a container to its end, and return what was learned of it."""

    def learn(
        script: str, seccomp: Any = None, *, no_new_privileges: bool = True
    ) -> agent_pb2.Learned:
        with Object.open(OBJECTS / "cgroups.bpf.o") as programs:
            programs.load()
            programs.attach()
            maps = (programs.map(n) for n in ("targets", "pending_limit", "pending_count"))
            targets, learner = Targets(*maps), Learner(OBJECTS)
            learner.open(programs.map("targets"), 0)
            wanted = agent_pb2.Learning(seccomp=True)
            if seccomp:
                wanted.audited.add(syscalls=sorted(allowed_names(seccomp)))
            learner.apply({"a": Wanted(1, wanted)})
            targets.set_candidates(1)
            name, cgroup = runc.create(script, seccomp, no_new_privileges=no_new_privileges)
            try:
                owner = Owner(cgroup.stat().st_ino, "container", "shop", "web-1", "", "web", "a")
                targets.set(owner.cgroup_id, 1, inherit=True)
                learner.meet(owner, ["a"])
                runc.runc("start", name)
                deadline = time.monotonic() + 20
                while not runc.is_done() and time.monotonic() < deadline:
                    time.sleep(0.05)
                executed = runc.runc("exec", name, "/bin/true")
                assert (runc.is_done(), executed.returncode) == (True, 0)
                learner.tick()
                [found] = learner.report("a")
                assert learner.problem is None
            finally:
                runc.runc("delete", "--force", name)
                learner.close()
        return found

    return learn


def names(found: agent_pb2.Learned) -> set[str]:
    return {call.name for call in found.calls}


RUNTIMES_OWN = {"mount", "pivot_root", "setns", "unshare", "keyctl", "capset", "sethostname"}


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_container_runs_under_what_was_learned_of_it_and_is_refused_a_mount(
    runc: Runc, learn: Lesson, no_new_privileges: bool
) -> None:
    """Where runc puts its filter on depends on no_new_privileges: early on without it."""
    learned = learn(SERVE, no_new_privileges=no_new_privileges)
    found = merge([learned])
    profiled = profile(found.allowed, found.architectures, allow=["geteuid", "vfork"])

    confined = learn(MOUNTS, profiled, no_new_privileges=no_new_privileges)
    refusals = {(each.call, each.enforced): each for each in confined.refusals}

    assert (learned.whole_runs, learned.base) == (1, "Unconfined")
    assert names(learned).isdisjoint(RUNTIMES_OWN)
    assert "execve" in {call.name for call in learned.runtime_calls}
    assert confined.base == "Filtered"
    assert runc.read("refused").strip() != "0"
    assert refusals.keys() == {("mount", True)}
    assert {each.comm for each in refusals.values()} == {"mount"}
