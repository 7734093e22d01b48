# SPDX-License-Identifier: Apache-2.0
"""One run of one collector, in a cgroup of its own, its output going to files."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.cgroup import Cgroup
from bench.collector import Collector, Trial
from bench.errors import BenchError
from bench.peers import PATH
from dev.command import environment

LOOK_SECONDS = 0.01
START_SECONDS = 30.0
"""In which a collector has to be ready."""
STOP_SECONDS = 10.0
QUIET_SECONDS = 0.25
"""Without a byte more in its files: it has written what it had."""
READING_SECONDS = 1.25
"""The same where it reads counts, once a second."""
SETTLE_SECONDS = 8.0
PROBE, PROBE_PORT = "probe", "20001"
"""What makes an event known as one that is not counted."""
PROBED = f"{PROBE}|{PROBE_PORT}"
CHUNK = 16 << 20


class Running:
    """A collector that runs. folder: where its output is."""

    def __init__(self, trial: Trial, cgroup: Cgroup, folder: Path) -> None:
        self.trial = trial
        self.cgroup = cgroup
        self.folder = folder
        self.started = 0.0
        self._processes: list[subprocess.Popen[bytes]] = []

    def first_row(self, collector: Collector, patience: float) -> float:
        """Start it on a terminal; return the seconds until a row was on it."""
        row = re.compile(self.trial.row.encode())
        master, terminal = os.openpty()
        tty.setraw(terminal)
        shown = b""
        self.started = time.monotonic()
        try:
            for command in self.trial.commands:
                words = self.cgroup.entering(collector.root.command(command))
                self._processes.append(
                    subprocess.Popen(
                        words,
                        stdin=subprocess.DEVNULL,
                        stdout=terminal,
                        stderr=terminal,
                        env=environment({"PATH": PATH, **self.trial.environment}),
                    )
                )
            while not row.search(shown):
                left = self.started + patience - time.monotonic()
                if left <= 0 or not select.select([master], [], [], left)[0]:
                    raise BenchError(f"no row in {patience:.0f} s: {shown[-200:]!r}")
                shown += os.read(master, 65536)
                self._check()
            return time.monotonic() - self.started
        finally:
            os.close(terminal)
            os.close(master)

    def start(self, collector: Collector) -> None:
        """Start its commands."""
        self.started = time.monotonic()
        for number, command in enumerate(self.trial.commands):
            words = self.cgroup.entering(collector.root.command(command))
            with (
                (self.folder / f"stdout-{number}").open("wb") as out,
                (self.folder / f"stderr-{number}").open("wb") as complaints,
            ):
                self._processes.append(
                    subprocess.Popen(
                        words,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=complaints,
                        env=environment({"PATH": PATH, **self.trial.environment}),
                    )
                )

    def wait_ready(self, probe: Callable[[], None]) -> None:
        """Wait until its programs are attached. probe: makes an event that is not counted."""
        if self.trial.wait:
            time.sleep(self.trial.wait)
            self._check()
            return
        ready = re.compile((self.trial.ready or self.trial.probed or PROBED).encode(), re.MULTILINE)
        while not any(ready.search(path.read_bytes()) for path in self._files()):
            self._check()
            if time.monotonic() - self.started > START_SECONDS:
                raise BenchError(f"not ready after {START_SECONDS:.0f} s: {self.complaint()}")
            if not self.trial.ready:
                probe()
            time.sleep(LOOK_SECONDS)

    def settle(self) -> None:
        """Wait until it has written what it had: nothing more for a moment."""
        quiet = READING_SECONDS if self.trial.total else QUIET_SECONDS
        end = time.monotonic() + SETTLE_SECONDS
        size, since = -1, time.monotonic()
        while time.monotonic() < min(end, since + quiet):
            now = sum(path.stat().st_size for path in self._files())
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """End it as a user would, by SIGINT; kill what does not end."""
        end = time.monotonic() + STOP_SECONDS
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for pid in self.cgroup.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            while self.cgroup.pids() and time.monotonic() < end:
                time.sleep(LOOK_SECONDS)
            end = time.monotonic() + 2.0
        for process in self._processes:
            process.wait()

    def delivered(self) -> int:
        """Return how many events its output holds."""
        if self.trial.total:
            return self._sum(self.trial.total)
        row = re.compile(self.trial.row.encode())
        return sum(len(row.findall(chunk)) for path in self._outputs() for chunk in _chunks(path))

    def told_lost(self) -> int:
        """Return how many events it says it lost."""
        return self._sum(self.trial.lost) if self.trial.lost else 0

    def complaint(self) -> str:
        """Return the last line that it wrote to stderr."""
        for path in self.folder.glob("stderr-*"):
            if lines := path.read_text(errors="replace").strip().splitlines():
                return lines[-1][:200]
        return "it said nothing"

    def _check(self) -> None:
        for process in self._processes:
            if process.poll() is not None:
                raise BenchError(f"ended with {process.returncode}: {self.complaint()}")

    def _sum(self, pattern: str) -> int:
        number = re.compile(pattern.encode(), re.MULTILINE)
        return sum(
            sum(int(found.replace(b",", b"")) for found in number.findall(chunk))
            for path in self._files()
            for chunk in _chunks(path)
        )

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _outputs(self) -> list[Path]:
        return [path for path in self._files() if not path.name.startswith("stderr-")]


def _chunks(path: Path) -> Iterator[bytes]:
    """Read a file in pieces that end with a line."""
    with path.open("rb") as file:
        rest = b""
        while piece := file.read(CHUNK):
            head, newline, rest_of_piece = piece.rpartition(b"\n")
            if newline:
                yield rest + head + newline
                rest = rest_of_piece
            else:
                rest += piece
        if rest:
            yield rest


@contextmanager
def prepared(trial: Trial, values: Mapping[str, str], cgroup: Cgroup) -> Generator[Running]:
    """Lend a collector that is not yet started; it is ended after the block."""
    folder = Path(tempfile.mkdtemp(prefix="eunomia-bench-"))
    output, files = folder / "rows", Path(tempfile.mkdtemp(prefix="eunomia-bench-"))
    output.mkdir()
    own = {"output": str(output), "files": str(files), "python": sys.executable}
    filled = trial.filled({**values, **own})
    for name, text in filled.files.items():
        (files / name).write_text(text)
    lent = Running(filled, cgroup, folder)
    try:
        yield lent
    finally:
        lent.stop()
        for made in (folder, files):
            shutil.rmtree(made, ignore_errors=True)
