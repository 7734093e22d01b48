# SPDX-License-Identifier: Apache-2.0
"""Whole conditions in the kernel: who does what one says is killed, and who comes near is not."""

import ctypes
import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eunomia_agent.jobs.conditions import Conditions
from eunomia_agent.kernel import hooks
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.denying import chosen
from eunomia_agent.trackers.key import Enforcement, Key
from eunomia_agent.trackers.pushdown import variables
from eunomia_api import agent_pb2
from eunomia_api.library import built_in

pytestmark = pytest.mark.bpf
refuses = pytest.mark.skipif(
    os.geteuid() == 0 and hooks.missing("lsm/file_open") is not None,
    reason=f"needs a kernel with BPF's security hooks: {hooks.missing('lsm/file_open')}",
)

SLOT = bytes(4)
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
EXE = os.path.realpath(sys.executable)
Deed = Callable[[Path], object]


class Case(NamedTuple):
    """A condition, `{at}` in it a folder; a deed that is one of it, and one that is nearly."""

    tracker: str
    when: str
    meant: Deed
    near: Deed


def rule(name: str) -> str:
    """A built-in rule's whole condition."""
    found = built_in().rules[name]
    excepted = (f" && !({each.when})" for each in found.exceptions)
    return f"({found.when}){''.join(excepted)}".replace("{", "{{").replace("}", "}}")


def write(path: Path) -> None:
    path.write_text("x")


def write_as(name: str, path: Path) -> None:
    LIBC.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    write(path)


def run(at: Path, *args: str) -> None:
    os.execv(at / "program", ["program", *args])


def memory_file(name: str) -> None:
    if LIBC.memfd_create(name.encode(), 0) < 0:
        raise OSError(ctypes.get_errno(), "failed")


CASES = {
    "a rule on paths, with exceptions": Case(
        "access",
        rule("persistence/user-database-written"),
        lambda at: write(at / "etc/passwd"),
        lambda at: write(at / "passwd"),
    ),
    "a rule on paths of two kinds": Case(
        "access",
        rule("container-escape/release-agent-written"),
        lambda at: write(at / "release_agent"),
        lambda at: (at / "release_agent").read_text(),
    ),
    "a whole text": Case(
        "access",
        'kind == "rename" && target == "{at}/b"',
        lambda at: (at / "a").rename(at / "b"),
        lambda at: (at / "a").rename(at / "bb"),
    ),
    "the beginning of a text": Case(
        "access",
        'kind == "rename" && target.startsWith("{at}/etc/")',
        lambda at: (at / "a").rename(at / "etc/b"),
        lambda at: (at / "a").rename(at / "etc-b"),
    ),
    "the end of a text": Case(
        "access",
        'kind == "rename" && target.endsWith("/etc/sudoers")',
        lambda at: (at / "a").rename(at / "etc/sudoers"),
        lambda at: (at / "a").rename(at / "sudoers"),
    ),
    "a part of a text": Case(
        "access",
        'kind == "rename" && target.contains("/etc/sudo")',
        lambda at: (at / "a").rename(at / "etc/sudoers"),
        lambda at: (at / "a").rename(at / "sudoers"),
    ),
    "a flag": Case(
        "access",
        'path.endsWith("/etc/passwd") && flags.contains("O_TRUNC")',
        lambda at: os.open(at / "etc/passwd", os.O_WRONLY | os.O_TRUNC),
        lambda at: os.open(at / "etc/passwd", os.O_WRONLY),
    ),
    "numbers with others between them": Case(
        "access",
        'path.endsWith("/a") && kind in ["delete", "symlink"] && links == 0',
        lambda at: (at / "a").unlink(),
        lambda at: (at / "a").rename(at / "b"),
    ),
    "what is not the case": Case(
        "access",
        'path.endsWith("/etc/passwd") && !(writing || exe == "/bin/other")',
        lambda at: (at / "etc/passwd").read_text(),
        lambda at: write(at / "etc/passwd"),
    ),
    "not by a program": Case(
        "access",
        f'(path.endsWith("/etc/passwd") || path.endsWith("/a")) && (writing || exe != "{EXE}")',
        lambda at: write(at / "a"),
        lambda at: (at / "a").read_text(),
    ),
    "the name of a thread": Case(
        "access",
        'path.endsWith("/etc/passwd") && (comm == "thief" || comm.startsWith("rob"))',
        lambda at: write_as("robber", at / "etc/passwd"),
        lambda at: write_as("thieves", at / "etc/passwd"),
    ),
    "the first argument": Case(
        "execution",
        'path.endsWith("/program") && args[1] == "sh"',
        lambda at: run(at, "sh", "-c"),
        lambda at: run(at, "she", "sh"),
    ),
    "any argument": Case(
        "execution",
        'args.exists(a, a == "--evil" || a.contains("stratum+tcp://"))',
        lambda at: run(at, "-o", "url=stratum+tcp://pool"),
        lambda at: run(at, "-o", "--evil-not", "stratum"),
    ),
    "one of the ancestors": Case(
        "execution",
        'path.endsWith("/program") && ancestors.exists(a, a == "nobody" || a.startsWith("py"))'
        ' && cwd.startsWith("{at}/etc")',
        lambda at: (os.chdir(at / "etc"), run(at)),
        lambda at: (os.chdir(at), run(at)),
    ),
    "a call and its text": Case(
        "privileged",
        'call == "memfd_create" && text == "secret" || call == "unshare" && error == ""',
        lambda _: memory_file("secret"),
        lambda _: memory_file("secrets"),
    ),
}
REFUSED = [name for name, case in CASES.items() if case.tracker != "privileged"]


@pytest.fixture
def at() -> Iterator[Path]:
    """A folder with files, and a program."""
    with tempfile.TemporaryDirectory(prefix="filter-") as path:
        folder = Path(path)
        (folder / "etc").mkdir()
        for name in ("a", "etc/passwd", "release_agent"):
            (folder / name).touch()
        shutil.copy("/bin/true", folder / "program")
        yield folder


@pytest.fixture
def enforce(track: Any, at: Path) -> Callable[[Case, Enforcement], Any]:
    """Load a tracker that kills whoever does what a case is about, or refuses it."""

    def start(case: Case, how: Enforcement) -> Any:
        tracker = Catalogue.load().trackers[case.tracker]
        btf = Btf.of_object((OBJECTS / f"{case.tracker}.bpf.o").read_bytes())
        when = case.when.format(at=at)
        asked = variables(Conditions(tracker, btf).of_enforced(agent_pb2.Rule(when=when), how)[0])
        key = Key(case.tracker, (), 0, tuple(asked.items()), enforcement=how)
        hooked = chosen(tracker, key, btf, {}) if how == Enforcement.DENY else ()
        maps = {name: content for name, content in asked.items() if name in btf.maps()}
        tracked = track(
            case.tracker,
            enforcement=how,
            without=tracker.denies.keys() - {*hooked},
            sizes=dict.fromkeys(maps, 1024),
            **{name: content for name, content in asked.items() if name not in maps},
        )
        for name, content in maps.items():
            into = tracked.object.map(name)
            size = into.key_size + into.value_size
            for begin in range(0, len(content), size):
                entry = content[begin : begin + size]
                into.update(entry[: into.key_size], entry[into.key_size :])
        return tracked

    return start


def outcome(spawn: Any, deed: Deed, at: Path) -> tuple[int, int]:
    """Return the signal that ended a process which did something, and the error it met; 0: none."""

    def attempt() -> None:
        try:
            deed(at)
        except OSError as error:
            os._exit(error.errno or 1)

    _, status = os.waitpid(spawn(attempt), 0)
    return (os.WTERMSIG(status), 0) if os.WIFSIGNALED(status) else (0, os.WEXITSTATUS(status))


def enforced(tracked: Any) -> int:
    return int.from_bytes(tracked.object.map("enforced").lookup(SLOT), "little")


@pytest.mark.parametrize("name", CASES)
def test_who_does_it_is_killed_and_who_comes_near_is_not(
    enforce: Any, spawn: Any, at: Path, name: str
) -> None:
    case = CASES[name]
    tracked = enforce(case, Enforcement.KILL)

    assert outcome(spawn, case.near, at) == (0, 0)
    assert enforced(tracked) == 0
    assert len(tracked.rows()) == 0

    (at / "a").touch()
    assert outcome(spawn, case.meant, at)[0] == signal.SIGKILL
    assert enforced(tracked) == len(tracked.rows()) == 1


@refuses
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_what_comes_near_is_not(
    enforce: Any, spawn: Any, at: Path, name: str
) -> None:
    case = CASES[name]
    tracked = enforce(case, Enforcement.DENY)

    assert outcome(spawn, case.near, at) == (0, 0)
    assert enforced(tracked) == 0
    assert len(tracked.rows()) == 0

    (at / "a").touch()
    assert outcome(spawn, case.meant, at) == (0, errno.EPERM)
    assert enforced(tracked) == len(tracked.rows()) == 1
