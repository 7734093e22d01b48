# SPDX-License-Identifier: Apache-2.0
"""`eunomia daemon` as a user starts it, in a cgroup of its own, judging by rules."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cgroup import Cgroup
from bench.errors import BenchError
from bench.peers import PATH
from dev.command import environment

READY_SECONDS = 30.0
END_SECONDS = 15.0
CHUNK = 1 << 16
WATCHED = "bench/watched"
"""The rule that tells of one file. Its severity is one that hardly any other rule has, since the
rate of alerts is one for each severity."""
CONFIGURATION = """
[daemon.trackers.process]
where = 'comm == "no-such-comm"'
[rules]
builtin = {groups}
files = ["bench.yaml"]
"""
RULES = """
group: bench
help: What the benchmark does.
rules:
  - name: watched
    severity: event
    events: [access]
    when: kind == "open" && path == "{watched}"
    message: "{{comm}} opened {{path}}"
    deduplicate: 0s
"""
RULE = """
  - name: {name}
    severity: event
    events: [{tracker}]
    when: '{when}'
    message: "{{comm}}"
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule beside the library's. when: CEL without single quotes."""

    name: str
    tracker: str
    when: str


@dataclass(frozen=True, slots=True)
class End:
    """What a daemon said when it ended. rows: of all trackers; rules: that it judged by."""

    rows: int
    lost: int
    rules: int


class Daemon:
    """A daemon that runs. watched: the file whose opens are told of."""

    def __init__(self, process: subprocess.Popen[bytes], watched: Path, errors: Path) -> None:
        assert process.stdout is not None
        self.watched = watched
        self._process = process
        self._errors = errors
        self._out = process.stdout.fileno()
        self._rest = b""

    def open_watched(self) -> int:
        """Open the watched file; return when the call had ended, in ns of the monotonic clock."""
        descriptor = os.open(self.watched, os.O_RDONLY)
        ended = time.monotonic_ns()
        os.close(descriptor)
        return ended

    def alert(self, seconds: float) -> int | None:
        """Return when the next alert of the watched file arrived; None: it did not, in time."""
        end = time.monotonic() + seconds
        os.set_blocking(self._out, False)
        while True:
            try:
                read = os.read(self._out, CHUNK)
            except BlockingIOError:
                if time.monotonic() > end:
                    return None
                time.sleep(0.0002)
                continue
            arrived = time.monotonic_ns()
            if not read:
                raise BenchError(f"the daemon ended: {self._errors.read_text().strip()[-300:]}")
            *lines, self._rest = (self._rest + read).split(b"\n")
            if any(json.loads(line).get("rule") == WATCHED for line in lines):
                return arrived

    def wait_ready(self, manager: socket.socket) -> None:
        """Wait until it says that it is ready, and tells of an open then. Raises BenchError.

        manager: bound to what the daemon has as NOTIFY_SOCKET: sd_notify(3).
        """
        end = os.pidfd_open(self._process.pid)
        try:
            heard, _, _ = select.select([manager.fileno(), end], [], [], READY_SECONDS)
        finally:
            os.close(end)
        if manager.fileno() not in heard:
            raise BenchError(f"it never was ready: {self._errors.read_text().strip()[-300:]}")
        self.open_watched()
        if self.alert(READY_SECONDS) is None:
            raise BenchError(f"no alert came of it in {READY_SECONDS:.0f} s")

    def end(self) -> End:
        """End it as systemd does, and return what it says."""
        os.set_blocking(self._out, True)
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=END_SECONDS)
        return ended(self._errors.read_text())


def ended(errors: str) -> End:
    """Read what a daemon wrote to standard error. Raises BenchError."""
    account = re.search(r"^([\d,]+) events?, ([\d,]+) lost", errors, re.MULTILINE)
    rules = re.search(r"by (\d+) rules?", errors)
    if account is None or rules is None:
        raise BenchError(f"the daemon told no account: {errors.strip()[-300:]}")
    rows, lost = (int(each.replace(",", "")) for each in account.groups())
    return End(rows, lost, int(rules[1]))


@contextmanager
def daemon(
    cgroup: Cgroup, folder: Path, groups: Sequence[str], rules: Sequence[Rule] = ()
) -> Generator[Daemon]:
    """Run a daemon with groups of the library and rules more, until the block's end."""
    watched, errors = folder / "watched", folder / "errors"
    watched.touch()
    texts = [RULES.format(watched=watched)]
    texts += [RULE.format(name=each.name, tracker=each.tracker, when=each.when) for each in rules]
    (folder / "bench.yaml").write_text("".join(texts))
    configuration = folder / "bench.toml"
    configuration.write_text(CONFIGURATION.format(groups=json.dumps(list(groups))))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, errors.open("wb") as file:
        manager.bind("")  # the kernel finds a free abstract address: unix(7)
        place = f"@{manager.getsockname()[1:].decode()}"
        process = subprocess.Popen(
            cgroup.entering(["eunomia", "daemon", "--config", str(configuration)]),
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment({"PATH": PATH, "NOTIFY_SOCKET": place}),
        )
        try:
            lent = Daemon(process, watched, errors)
            lent.wait_ready(manager)
            yield lent
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
