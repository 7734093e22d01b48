# SPDX-License-Identifier: Apache-2.0
"""What a real runtime does breaks no built-in rule, and nobody passes for one."""

import ctypes
import json
import os
import platform
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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

libc = ctypes.CDLL(None, use_errno=True)
TRACKERS = ("access", "execution", "privileged")
PROGRAMS = ("sh", "cp", "chroot", "ls", "sleep", "touch", "true", "ln")
SERVE = "ls /bin; touch /tmp/done; sleep 100"
FORGE = "cp /bin/busybox /runc; ln -s /runc /tmp/chroot; /tmp/chroot / true; touch /tmp/done;"
WAIT = (
    "touch /tmp/done; while [ ! -e /tmp/go ]; do sleep 0.1; done; chroot / true; touch /tmp/gone;"
)
ROOT_CHANGED = "container-escape/root-changed"
OF_THE_TEST = {"execution/written-then-executed", "execution/dropped-executed"}
"""Broken by the root file system where the machine keeps it in memory: all of it is new."""
CLONE_NEWNS = 0x20000


def wait_for(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Container:
    """A container that a real runc makes in the test's cgroup, and the trackers that watch it."""

    def __init__(self, bundle: Path, path: str, track: Any, cgroup: Path) -> None:
        self.name = f"eunomia-test-{os.getpid()}"
        self.path = path
        self.wrap: tuple[str, ...] = ()
        self.before: Callable[[], object] = int
        self._bundle = bundle
        self._track = track
        self.cgroup = cgroup
        self.tracked: dict[str, Any] = {}

    def runc(self, *arguments: str) -> None:
        """Run runc; what goes wrong is in the bundle's log."""
        log = self._bundle / "log"
        with log.open("a") as output:
            code = subprocess.run(
                [*self.wrap, "runc", "--root", self._bundle / "state", *arguments],
                cwd=self._bundle,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                preexec_fn=self.before,
            ).returncode
        assert code == 0, log.read_text()

    def specify(self, script: str, **mounts: str) -> None:
        """mounts: folders of this machine, each by the name that it gets in the root."""
        self.runc("spec")
        spec = json.loads((self._bundle / "config.json").read_text())
        spec["process"] |= {"terminal": False, "args": ["/bin/sh", "-c", script]}
        for kind in spec["process"]["capabilities"].values():
            kind.append("CAP_SYS_CHROOT")
        spec["root"]["readonly"] = False
        spec["linux"]["cgroupsPath"] = self.path
        spec["mounts"] += [
            {"destination": f"/{name}", "type": "none", "source": source, "options": ["rbind"]}
            for name, source in mounts.items()
        ]
        (self._bundle / "config.json").write_text(json.dumps(spec))

    def watch(self) -> None:
        self.tracked = {each: self._track(each, ring_bytes=1 << 24) for each in TRACKERS}

    def until(self, name: str) -> None:
        """Wait for a file that the container's program makes."""
        wait_for((self._bundle / "rootfs/tmp" / name).exists)

    def tell(self, name: str) -> None:
        (self._bundle / "rootfs/tmp" / name).touch()

    def runtime(self) -> set[int]:
        """What the flag was, in the rows of one tracker. They are gone then."""
        return set(self.tracked["access"].rows().fixed["runtime"].tolist())

    def broken(self) -> set[str]:
        """Return the built-in rules that the rows until now break."""
        trackers = Catalogue.load().trackers
        built_in = library.built_in().rules
        rules = [rule_message(rule, each) for each, rule in built_in.items()]
        kept = Kept()
        guard = Guard(agent_pb2.Job(uid="p", rules=rules), trackers, kept)
        owner = Owner(self.cgroup.stat().st_ino, "container", "shop", "web-0", "", "web", "1b" * 32)
        for each in TRACKERS:
            batch = self.tracked[each].rows()
            guard.write(Rows(batch, owner, each, node="n1", offset_ns=0))
        return {alert.rule for alert in kept.alerts} - OF_THE_TEST


@pytest.fixture
def container(hierarchy: Path, cgroup: Path, track: Any, tmp_path: Path) -> Iterator[Container]:
    """A container with a root file system of busybox."""
    if os.geteuid() != 0 or not shutil.which("runc") or not Path("/bin/busybox").exists():
        pytest.skip("needs root, runc and busybox")
    rootfs = tmp_path / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", rootfs / "bin")
    for name in PROGRAMS:
        (rootfs / "bin" / name).symlink_to("busybox")
    made = Container(tmp_path, f"/{cgroup.relative_to(hierarchy)}", track, cgroup)
    yield made
    with suppress(AssertionError):
        made.runc("delete", "--force", made.name)
    for made_by_runc in hierarchy.parent.glob(f"*/eunomia-test-{os.getpid()}-node"):
        with suppress(OSError):  # in every hierarchy of v1; the test's own is removed by itself
            made_by_runc.rmdir()


def test_a_container_begins_is_entered_and_ends_without_a_false_alarm(container: Container) -> None:
    container.specify(SERVE)
    container.watch()
    container.runc("run", "--detach", container.name)
    container.until("done")
    container.runc("exec", container.name, "/bin/true")
    container.runc("kill", container.name, "KILL")

    assert container.broken() == set()


def test_what_a_runtime_does_is_told_as_such_up_to_the_program(container: Container) -> None:
    container.specify(WAIT + "sleep 100")
    container.watch()
    container.runc("create", container.name)
    assert container.runtime() == {1}

    container.runc("start", container.name)
    container.until("done")
    container.runtime()
    container.tell("go")
    container.until("gone")
    assert container.runtime() == {0}

    container.runc("exec", container.name, "/bin/ls", "/")
    assert container.runtime() == {0, 1}


def test_a_runtime_that_was_there_before_the_programs_is_one(container: Container) -> None:
    container.specify(SERVE)
    container.runc("create", container.name)
    container.watch()
    container.runc("start", container.name)
    container.until("done")

    assert container.broken() == set()


def test_a_container_that_was_there_before_the_programs_is_no_runtime(
    container: Container,
) -> None:
    container.specify(WAIT + "sleep 100")
    container.runc("run", "--detach", container.name)
    container.until("done")
    container.watch()
    container.tell("go")
    container.until("gone")
    assert ROOT_CHANGED in container.broken()

    container.runc("exec", container.name, "/bin/true")
    assert container.broken() == set()


def test_a_runtime_in_a_container_of_its_own_is_one_to_the_containers_in_it(
    container: Container, make_cgroup: Any, hierarchy: Path, track: Any, tmp_path: Path
) -> None:
    """As on a node of kind, which has its own mounts and its own root of cgroups."""
    node = make_cgroup("node")
    cgroup = make_cgroup("pod", node)
    runtime = make_cgroup("runtime", node)
    inner = Container(tmp_path, f"/{cgroup.relative_to(hierarchy)}", track, cgroup)
    inner.wrap = ("unshare", "--mount")
    inner.before = lambda: (runtime / "cgroup.procs").write_text("0")
    inner.specify(WAIT + "sleep 100")
    inner.watch()
    for tracked in inner.tracked.values():
        tracked.target(cgroup)

    inner.runc("run", "--detach", inner.name)
    inner.until("done")
    assert inner.broken() == set()
    inner.tell("go")
    inner.until("gone")
    assert ROOT_CHANGED in inner.broken()
    inner.runc("exec", inner.name, "/bin/true")
    assert inner.broken() == set()


def watch_everywhere(tracked: Any) -> None:
    tracked.object.map("instance").update(bytes(4), struct.pack("=2Q192Q", 1, 1, *[0] * 192))


def flags(tracked: Any, *cgroups: Path) -> list[tuple[str, int]]:
    """Take the rows of some cgroups: each call, and whether a runtime made it."""
    rows = tracked.rows()
    ids = rows.fixed["cgroup_id"].tolist()
    ours = {each.stat().st_ino for each in cgroups}
    found = zip(rows.text("call"), rows.fixed["runtime"].tolist(), ids, strict=True)
    return [(call, flag) for call, flag, cgroup_id in found if cgroup_id in ours]


def test_a_container_that_nobody_chose_begins_without_a_false_alarm(container: Container) -> None:
    """As of a daemon that watches the whole machine, where no cgroup is a target of its own."""
    container.specify(WAIT + "sleep 100")
    container.watch()
    tracked, cgroup = container.tracked["privileged"], container.cgroup
    tracked.agent_wide.map("targets").delete(struct.pack("=Q", cgroup.stat().st_ino))
    watch_everywhere(tracked)
    container.runc("run", "--detach", container.name)
    container.until("done")
    assert {call: flag for call, flag in flags(tracked, cgroup) if call == "pivot_root"} == {
        "pivot_root": 1
    }

    container.tell("go")
    container.until("gone")
    assert flags(tracked, cgroup) == [("chroot", 0)]


def test_a_container_with_the_nodes_root_is_told_of_and_what_it_writes_there(
    container: Container,
) -> None:
    container.specify("echo -n >>/host/etc/hostname; " + SERVE, host="/")
    container.watch()
    container.runc("run", "--detach", container.name)
    container.until("done")

    assert container.broken() == {
        "container-escape/node-folder-mounted",
        "container-escape/node-file-written",
    }


def test_a_container_with_a_volume_of_the_nodes_is_not_told_of(
    container: Container, tmp_path: Path
) -> None:
    (tmp_path / "volume/etc").mkdir(parents=True)
    container.specify(": >/data/etc/x; " + SERVE, data=str(tmp_path / "volume"))
    container.watch()
    container.runc("run", "--detach", container.name)
    container.until("done")

    assert container.broken() == set()


def test_who_is_called_runc_is_no_runtime(container: Container) -> None:
    container.specify(FORGE + "sleep 100")
    container.watch()
    container.runc("run", "--detach", container.name)
    container.until("done")

    assert ROOT_CHANGED in container.broken()


# ---- processes of a container that try to pass for its runtime ----


def enter_mounts(pid: int) -> None:
    with Path(f"/proc/{pid}/ns/mnt").open() as namespace:
        libc.setns(namespace.fileno(), CLONE_NEWNS)


def pivot() -> None:
    number = {"x86_64": 155, "aarch64": 41}[platform.machine()]
    libc.unshare(CLONE_NEWNS)
    libc.mount(None, b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    libc.mount(b"none", b"/mnt", b"tmpfs", 0, None)
    os.mkdir("/mnt/old")
    os.chdir("/mnt")
    libc.syscall(number, b".", b"old")


def begin(*command: str) -> None:
    os.execv("/bin/busybox", ["busybox", *command, "busybox", "chroot", "/", "true"])


TRICKS: dict[str, Callable[[int], object]] = {
    "nothing": lambda _: None,
    "unshare": lambda _: libc.unshare(CLONE_NEWNS),
    "setns": enter_mounts,
    "pivot_root": lambda _: pivot(),
    "nsenter": lambda host: begin("nsenter", "-t", str(host), "-m"),
    "unshare and exec": lambda _: begin("unshare", "-m"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_process_of_a_container_is_no_runtime_whatever_namespace_it_enters(
    trick: str, track: Any, spawn: Any, cgroup: Path
) -> None:
    if not Path("/bin/busybox").exists():
        pytest.skip("needs busybox")
    tracked = track("privileged")
    host = os.getpid()

    def deceive() -> None:
        libc.unshare(CLONE_NEWNS)  # the container's own mounts
        if os.fork() == 0:
            TRICKS[trick](host)
            os.chroot("/")
            os._exit(0)
        os.wait()

    os.waitpid(spawn(deceive), 0)

    found = flags(tracked, cgroup)
    assert ("chroot", 0) in found
    assert {flag for _, flag in found} == {0}


def chroot_when_moved(move: Callable[[int], object]) -> None:
    """Fork a child that changes its root once it was moved."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        os.chroot("/")
        os._exit(0)
    move(child)
    os.write(go, b"x")
    os.waitpid(child, 0)


@pytest.mark.parametrize("watched", [True, False])
def test_who_is_moved_about_within_a_container_is_no_runtime(
    track: Any, spawn: Any, cgroup: Path, make_cgroup: Any, watched: bool
) -> None:
    """A container may make cgroups in its own, and move what it likes from one to another."""
    tracked = track("privileged")
    if not watched:  # by a job of its own; the agent keeps an entry without jobs
        tracked.target(cgroup, jobs=0)
        watch_everywhere(tracked)
    inner, other = make_cgroup("inner", cgroup), make_cgroup("other", cgroup)

    def helper() -> None:
        (inner / "cgroup.procs").write_text("0")
        chroot_when_moved(lambda child: (other / "cgroup.procs").write_text(str(child)))
        chroot_when_moved(lambda child: (cgroup / "cgroup.procs").write_text(str(child)))
        chroot_when_moved(lambda child: (other / "cgroup.procs").write_text("0"))

    os.waitpid(spawn(helper), 0)

    assert flags(tracked, cgroup, inner, other) == [("chroot", 0)] * 3


def test_who_is_put_into_a_container_by_another_is_its_runtime_and_not_for_ever(
    track: Any, cgroup: Path
) -> None:
    """A process that never begins a program is the container's a minute later."""
    tracked = track("privileged", wide={"starting_ns": 300_000_000})
    move = (cgroup / "cgroup.procs").write_text

    chroot_when_moved(lambda child: move(str(child)))
    chroot_when_moved(lambda child: [move(str(child)), time.sleep(0.5)])

    assert flags(tracked, cgroup) == [("chroot", 1), ("chroot", 0)]


def chroot_when_born_into(cgroup: Path) -> None:
    """By clone3 with CLONE_INTO_CGROUP, as newer runtimes do it."""
    into_cgroup, clone3, sigchld = 0x200000000, 435, 17
    descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    arguments = struct.pack("=11Q", into_cgroup, 0, 0, 0, sigchld, 0, 0, 0, 0, 0, descriptor)
    child = libc.syscall(clone3, arguments, len(arguments))
    if child == 0:
        os.chroot("/")
        os._exit(0)
    os.close(descriptor)
    os.waitpid(child, 0)


def test_who_is_born_into_a_container_is_its_runtime(track: Any, cgroup: Path) -> None:
    tracked = track("privileged")

    chroot_when_born_into(cgroup)

    assert flags(tracked, cgroup) == [("chroot", 1)]


def test_a_runtime_is_one_for_as_long_wherever_it_came_from_itself(
    track: Any, cgroup: Path, make_cgroup: Any
) -> None:
    """A service is moved by who starts it, and serves for longer than a runtime may take."""
    tracked = track("privileged", wide={"starting_ns": 300_000_000})
    service = make_cgroup("service")

    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        chroot_when_born_into(cgroup)
        os._exit(0)
    (service / "cgroup.procs").write_text(str(child))
    os.waitpid(child, 0)

    assert flags(tracked, cgroup) == [("chroot", 1)]


def test_who_moves_itself_out_and_in_again_is_no_runtime(
    track: Any, spawn: Any, cgroup: Path, make_cgroup: Any
) -> None:
    tracked, outside = track("privileged"), make_cgroup("outside")

    def move_about() -> None:
        (outside / "cgroup.procs").write_text("0")
        (cgroup / "cgroup.procs").write_text("0")
        os.chroot("/")

    os.waitpid(spawn(move_about), 0)

    assert flags(tracked, cgroup) == [("chroot", 0)]


def test_a_runtime_may_begin_itself_anew_until_a_program_has_other_mounts(
    track: Any, cgroup: Path
) -> None:
    """As runc does with a sealed copy of itself, in the cgroup already."""
    if not Path("/bin/busybox").exists():
        pytest.skip("needs busybox")
    tracked = track("execution")
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        os.execv("/bin/busybox", ["busybox", "unshare", "-m", "busybox", "true"])
    (cgroup / "cgroup.procs").write_text(str(child))
    os.write(go, b"x")
    os.waitpid(child, 0)

    rows = tracked.rows()
    assert rows.text("args") == ["busybox unshare -m busybox true", "busybox true"]
    assert rows.fixed["runtime"].tolist() == [1, 0]
