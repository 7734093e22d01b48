# SPDX-License-Identifier: Apache-2.0
"""The command as a person runs it, and processes that do something known."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli.main import exit_code

EUNOMIA = Path(sys.executable).with_name("eunomia")
OPEN_MANY = """
import os, sys
prefix, count, comm = os.fsencode(sys.argv[1]), int(sys.argv[2]), os.fsencode(sys.argv[3])
with open("/proc/self/comm", "wb") as file:
    file.write(comm)
print(flush=True)
sys.stdin.readline()
for i in range(count):
    try:
        os.open(prefix + str(i).encode(), os.O_RDONLY)
    except OSError:
        pass
"""


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.splitlines()[-1]


class Running:
    """A command that runs; it is heard through pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def end(self, number: int = signal.SIGINT, timeout: float = 30) -> Done:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = 30) -> Done:
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return Done(self.process.returncode, (out or b"").decode(), err.decode())


@pytest.fixture
def run() -> Callable[..., Done]:
    """Run a command to its end."""

    def run_it(*arguments: str, **options: Any) -> Done:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return Running(subprocess.Popen([EUNOMIA, *arguments], **{**pipes, **options})).wait()

    return run_it


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Do in this process what a command that only tells or refuses something does in its own.

    For a process, most of the time goes by before it has begun.
    """

    def ask_it(*arguments: str) -> Done:
        capfd.readouterr()
        code = exit_code(list(arguments))
        return Done(code, *capfd.readouterr())

    return ask_it


@pytest.fixture
def start(start_service: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Running]:
    """Start a command, and wait until its programs are attached."""

    def start_it(*arguments: str, **options: Any) -> Running:
        return Running(start_service(EUNOMIA, *arguments, **options))

    return start_it


@pytest.fixture
def opener() -> Iterator[Callable[..., "Opener"]]:
    """A process that opens paths when it is told to."""
    made: list[Opener] = []

    def make(prefix: str | bytes, count: int, comm: str | bytes = "python") -> Opener:
        made.append(Opener(prefix, count, comm))
        return made[-1]

    yield make
    for each in made:
        with each.process as process:
            process.kill()


class Opener:
    """Tries to open PREFIX0, PREFIX1 … once told to."""

    def __init__(self, prefix: str | bytes, count: int, comm: str | bytes) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPEN_MANY, prefix, str(count), comm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"\n", "it is there, and waits"

    def go(self) -> None:
        """Open them all, and end."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
