# SPDX-License-Identifier: Apache-2.0
"""Attempts of a container to hide what it does, or what others do, from the rules of a policy."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.alerts import Spool
from eunomia_agent.cli.rulebook import chosen
from eunomia_agent.containers.owner import Owner
from eunomia_agent.guards import Guards
from eunomia_agent.metrics.security import Security
from eunomia_agent.rules.guard import FLOOD
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
BUDGET = 20_000
"""Events a second and node, as a policy has it that does not say."""


def rule(name: str, when: str, tracker: str = "access", **fields: Any) -> agent_pb2.Rule:
    return agent_pb2.Rule(
        name=name,
        severity=agent_pb2.SEVERITY_ALERT,
        trackers=[tracker],
        when=when,
        message=fields.pop("message", "{comm} opened {path}"),
        **fields,
    )


SECRET = rule("secret", 'kind == "open" && path.endsWith("/secret")')


class Told:
    """Puts alerts into the spool, and takes down when each came."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.came: list[tuple[float, agent_pb2.Alert]] = []

    def put(self, alert: agent_pb2.Alert) -> bool:
        room = self.spool.put(alert)
        if room:
            self.came.append((time.time(), alert))
        return room


class Watch:
    """A policy on this machine, and containers that it watches: cgroups, with owners."""

    def __init__(self, machine: Any, job: Any, folder: Path, containers: Sequence[Path]) -> None:
        self.told = Told(Spool(folder))
        self._machine, self._job = machine, job
        self._containers = containers
        self.guards = Guards(Catalogue.load().trackers, self.told, Security("n1"))

    def begin(self, *rules: agent_pb2.Rule, rate: int = BUDGET, **fields: Any) -> None:
        trackers = sorted({name for each in rules for name in each.trackers})
        wanted = self._job(
            "p",
            trackers=[agent_pb2.Tracker(name=name) for name in trackers],
            cgroups=self._containers,
            rules=rules,
            rate=rate,
            **fields,
        )
        self.running = self._machine(wanted, sinks=lambda job: [self.guards.guard(job)])
        self.tracing = self.running._local._tracing
        self.guards.jobs = self.tracing.jobs
        for each in self._containers:
            self.running.call(lambda each=each: self.tracing.meet(owner(each)))

    def of(self, container: Path, name: str = "secret") -> list[agent_pb2.Alert]:
        """Alerts of a rule about a container."""
        return [
            each for _, each in self.told.came if each.pod == container.name and each.rule == name
        ]

    def wait(self, until: Callable[[], object]) -> None:
        self.running.wait(until, seconds=30)

    def end(self) -> tuple[Totals, agent_pb2.PolicyReport]:
        """Stop; return what came of it."""
        found = self.running.end().totals["p"]
        return (
            sum(found.trackers.values(), Totals()),
            agent_pb2.PolicyReport.FromString(found.policy),
        )


def owner(cgroup: Path) -> Owner:
    number = cgroup.stat().st_ino
    return Owner(
        *(number, "container", "shop", cgroup.name, f"uid-{cgroup.name}", "main", f"{number:064x}"),
        path=f"/{cgroup.name}",
    )


@pytest.fixture
def loud(make_cgroup: Any) -> Path:
    return make_cgroup("loud")


@pytest.fixture
def quiet(make_cgroup: Any) -> Path:
    return make_cgroup("quiet")


@pytest.fixture
def watch(machine: Any, job: Any, tmp_path: Path, loud: Path, quiet: Path) -> Iterator[Watch]:
    folder = tmp_path / "state"
    folder.mkdir()
    watch = Watch(machine, job, folder, [loud, quiet])
    yield watch
    watch.told.spool.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("x")
    return path


def enter(cgroup: Path) -> Callable[[], None]:
    return lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())) and None


def do(cgroup: Path, code: str, *arguments: object) -> int:
    """Run some Python inside a cgroup; return its process."""
    words = [os.fsencode(str(each)) if not isinstance(each, bytes) else each for each in arguments]
    command = [sys.executable, "-S", "-E", "-c", f"import os, sys\n{code}", *words]
    process = subprocess.Popen(command, preexec_fn=enter(cgroup))  # noqa: PLW1509
    assert process.wait(timeout=60) == 0
    return process.pid


EVIL = (
    b"\x1b[2J\x1b]0;owned\x07",
    b"a\nb\r\nc\t\v\f\b\x7f",
    b"\xff\xfe\xc0\xaf\xed\xa0\x80",
    "\u202e\u2066\u200f\u2028\u2029\x85\x9b1m\ufeff".encode(),
    b'"} 1\n{path}{pid}"\'`\\\\',
    b"<b>&amp;%s$(id)",
    "é漢🙂".encode(),
)
READ = "os.close(os.open(sys.argv[1], os.O_RDONLY))"


def test_a_flood_from_one_container_hides_no_alert_of_another_and_is_told(
    watch: Watch, loads: Any, loud: Path, quiet: Path, secret: Path
) -> None:
    watch.begin(SECRET)
    flood = loads.start("reads", 10**9, secret, cgroup=loud)
    loads.go(flood)
    watch.wait(lambda: watch.running.total("p").limited)
    for _ in range(10):
        do(quiet, READ, secret)
    assert flood.poll() is None, "the other container was busy all the time"
    flood.kill()
    watch.wait(lambda: len(watch.of(quiet)) == 10)
    totals, report = watch.end()

    late = [at - each.time_ns / 1e9 for at, each in watch.told.came if each.pod == quiet.name]
    assert statistics.median(late) < 1, late
    assert totals.matched == totals.settled > 100_000
    assert totals.limited > totals.delivered > 0
    floods = watch.of(loud, FLOOD)
    assert "come faster than 5 a second" in floods[0].message
    assert report.alerts == totals.delivered + len(floods)
    assert report.dropped == report.alerts - len(watch.told.came) > 0


def test_a_ring_that_is_filled_tells_what_it_lost_and_goes_on(
    watch: Watch, loads: Any, loud: Path, quiet: Path, secret: Path
) -> None:
    watch.begin(SECRET, rate=0, memory=1)
    flood = loads.start("reads", 50_000, secret, cgroup=loud)

    def sleep() -> None:  # as on a node that has no time for the agent
        loads.go(flood)
        assert flood.wait(timeout=60) == 0

    watch.running.call(sleep)
    pid = do(quiet, READ, secret)
    watch.wait(lambda: watch.of(quiet))
    totals, report = watch.end()

    assert [each.pid for each in watch.of(quiet)] == [pid]
    assert totals.matched == 50_001 == totals.delivered + totals.lost_kernel
    assert totals.lost_kernel > 0
    assert report.alerts == totals.delivered + len(watch.of(loud, FLOOD))
    assert report.dropped == report.alerts - len(watch.told.came)


BOMB = """
def burst(left):
    os.close(os.open(sys.argv[1], os.O_RDONLY))
    left -= 1
    for share in (left // 2, left - left // 2):
        if share and not os.fork():
            burst(share)
            os._exit(0)
    for share in (left // 2, left - left // 2):
        if share:
            os.wait()
burst(int(sys.argv[2]))
"""
PROCESSES = 300


def test_of_a_burst_of_processes_each_is_judged_and_what_is_not_told_is_counted(
    watch: Watch, loud: Path, secret: Path
) -> None:
    watch.begin(SECRET)
    do(loud, BOMB, secret, PROCESSES)
    watch.wait(lambda: watch.running.total("p") == Totals(matched=PROCESSES, delivered=PROCESSES))
    _, report = watch.end()

    told, floods = watch.of(loud), watch.of(loud, FLOOD)
    assert len({each.pid for each in told}) == len(told) >= 50
    assert sum(each.count for each in floods) == 1, "told at the first that is not"
    assert report.alerts == PROCESSES + len(floods)
    assert report.dropped == PROCESSES - len(told)


def test_processes_that_end_at_once_are_all_told(
    watch: Watch, loads: Any, quiet: Path, secret: Path
) -> None:
    watch.begin(SECRET)
    pids: list[int] = []
    for _ in range(40):
        process = loads.start("reads", 1, secret, cgroup=quiet)
        loads.go(process)
        assert process.wait(timeout=10) == 0
        pids.append(process.pid)
    watch.wait(lambda: len(watch.of(quiet)) == 40)
    assert [each.pid for each in watch.of(quiet)] == pids
    assert {(each.comm, each.ancestors[0].pid) for each in watch.of(quiet)} == {
        ("load", os.getpid())
    }


SHADOW = "sensitive-files/password-hashes-read"
LIBC = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno())
    return result
def read(path):
    os.close(os.open(path, os.O_RDONLY))
os.chdir(sys.argv[1])
"""
UNSHARE = "check(libc.unshare(0x10020000))\ncheck(libc.mount(b'none', b'/', None, 0x44000, None))\n"
DISGUISES = [
    ("by its path", SHADOW, "read(sys.argv[1] + '/etc/shadow')"),
    ("relative", SHADOW, "os.chdir('etc'); read('shadow')"),
    ("dots and slashes", SHADOW, "read('etc/.//../etc/././shadow')"),
    ("4 kB of argument", SHADOW, "read('./' * 2040 + 'etc/shadow')"),
    ("from a descriptor", SHADOW, "os.open('shadow', 0, dir_fd=os.open('etc', os.O_RDONLY))"),
    ("by a path alone", SHADOW, "read(f'/proc/self/fd/{os.open(\"etc/shadow\", os.O_PATH)}')"),
    ("through proc", SHADOW, "read(f'/proc/{os.getpid()}/root{os.getcwd()}/etc/shadow')"),
    ("symlink", SHADOW, "os.symlink('etc/shadow', 's'); read('s')"),
    (
        "symlink of a folder",
        SHADOW,
        "os.symlink('etc', 't'); os.symlink('t', 'u'); read('u/shadow')",
    ),
    ("hard link", SHADOW, "os.link('etc/shadow', 'h'); read('h')"),
    ("moved away and back", SHADOW, "os.rename('etc/shadow', 'm'); os.rename('m', 'etc/shadow')"),
    ("another name", SHADOW, "libc.prctl(15, b'kworker/0:1', 0, 0, 0); read('etc/shadow')"),
    (
        "a thread",
        SHADOW,
        "import threading as t; t.Thread(target=read, args=('etc/shadow',)).start()",
    ),
    (
        "openat2",
        SHADOW,
        "check(libc.syscall(437, -100, b'etc/shadow', (ctypes.c_ulong * 3)(), 24))",
    ),
    ("new namespaces", SHADOW, UNSHARE + "read('etc/shadow')"),
    ("and said so", "container-escape/user-namespace-made", UNSHARE),
    (
        "folder mounted elsewhere",
        SHADOW,
        UNSHARE + "os.mkdir('x'); os.mkdir('x/etc')\n"
        "check(libc.mount(b'etc', b'x/etc', None, 4096, None)); read('x/etc/shadow')",
    ),
    (
        "file mounted elsewhere",
        "container-escape/sensitive-file-bound",
        UNSHARE + "open('y', 'w').close()\n"
        "check(libc.mount(b'etc/shadow', b'y', None, 4096, None)); read('y')",
    ),
    (
        "another root",
        SHADOW,
        UNSHARE + "os.chroot('.'); read('/etc/shadow')",
    ),
    (
        "folders of 4 kB",
        SHADOW,
        "for _ in range(20):\n    os.mkdir('d' * 250); os.chdir('d' * 250)\n"
        "os.mkdir('etc'); open('etc/shadow', 'w').close()",
    ),
    (
        "the file of a program that may",
        "container-escape/user-namespace-made",
        UNSHARE + "import shutil; shutil.copy('/bin/cat', 'cat')\n"
        "check(libc.mount(b'cat', b'/usr/bin/passwd', None, 4096, None))\n"
        "os.execv('/usr/bin/passwd', ['passwd', 'etc/shadow'])",
    ),
    (
        "a shell of another name",
        SHADOW,
        "import shutil; shutil.copy('/bin/sh', 'nginx')\n"
        "os.execv('nginx', ['nginx', '-c', 'exec 3< etc/shadow'])",
    ),
    (
        "a program in memory",
        "execution/memory-executed",
        "fd = os.memfd_create('x')\nos.write(fd, open('/bin/true', 'rb').read())\n"
        "os.execv(f'/proc/self/fd/{fd}', ['nginx'])",
    ),
    (
        "a program in shared memory",
        "execution/shared-memory-executed",
        "import shutil\nname = f'/dev/shm/eunomia-{os.getpid()}'\nshutil.copy('/bin/true', name)\n"
        "child = os.posix_spawn(name, ['nginx'], {}); os.waitpid(child, 0); os.unlink(name)",
    ),
]


def test_no_disguise_of_a_file_or_a_program_escapes_the_rules(
    watch: Watch, quiet: Path, tmp_path: Path
) -> None:
    rules = chosen(["sensitive-files", "container-escape", "execution"])
    for each in rules:
        each.deduplicate_ms = 0
    watch.begin(*rules)
    missed: list[str] = []
    for number, (name, expected, code) in enumerate(DISGUISES):
        folder = tmp_path / str(number)
        (folder / "etc").mkdir(parents=True)
        (folder / "etc/shadow").write_text("x")
        before = len(watch.told.came)
        do(quiet, LIBC + code, folder)
        try:
            watch.running.wait(
                lambda: expected in [each.rule for _, each in watch.told.came[before:]], seconds=5
            )
        except AssertionError:
            missed.append(name)
    assert missed == []


def test_what_a_name_is_made_of_stays_in_its_place_in_an_alert(
    watch: Watch, quiet: Path, tmp_path: Path
) -> None:
    watch.begin(rule("secret", SECRET.when, message="{comm}|{path}"))
    for number, name in enumerate(EVIL):
        folder = os.fsencode(tmp_path / str(number)) + b"/" + name
        os.makedirs(folder)
        Path(os.fsdecode(folder), "secret").write_text("x")
        code = "import ctypes; ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[2]), 0, 0, 0)\n"
        do(quiet, code + READ, folder + b"/secret", name)
    watch.wait(lambda: len(watch.of(quiet)) == len(EVIL))
    for name, alert in zip(EVIL, watch.of(quiet), strict=True):
        assert alert.message.isprintable()
        row = json.loads(alert.evidence)
        assert alert.evidence.isascii()
        assert alert.evidence.isprintable()
        assert row["comm"] == alert.comm == name[:15].decode(errors="backslashreplace")
        assert row["path"].endswith(f"/{name.decode(errors='backslashreplace')}/secret")
        assert len(alert.evidence) <= 4096
        assert len(alert.message) <= 1024


def kept(folder: Path) -> list[str]:
    """Ids of the alerts in a folder, as another agent would find them there."""
    copy = folder.parent / "copy"
    copy.mkdir(exist_ok=True)
    shutil.copy(folder / "alerts", copy)
    spool, found, last = Spool(copy), list[str](), 0
    while alerts := spool.after(last):
        found += [each.id for each in alerts]
        last = alerts[-1].sequence
    spool.close()
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_told_and_costs_no_alert_and_a_full_spool_is_told_and_counted(
    watch: Watch, quiet: Path, secret: Path, small_disk: Path
) -> None:
    spool = watch.told.spool = Spool(small_disk)
    watch.begin(SECRET)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    for count in range(1, 50):
        do(quiet, READ, secret)
        watch.wait(lambda: len(spool) == count)  # noqa: B023
        if spool.problem:
            break
    assert spool.problem == "alerts: No space left on device"
    filler.unlink()
    do(quiet, READ, secret)
    watch.wait(lambda: len(spool) == count + 1)
    assert spool.problem is None
    assert kept(small_disk) == [each.id for _, each in watch.told.came]

    while spool.put(agent_pb2.Alert(container_id=str(len(spool)))):
        continue
    do(quiet, READ, secret)
    watch.wait(lambda: watch.running.standing.reports["p"].policy.dropped == 1)
    degraded = watch.running.standing.reports["p"].degraded
    assert degraded == "rules: alerts find no room: they are counted and not told"
    assert watch.end()[1].alerts == len(watch.told.came) + 1
