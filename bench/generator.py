# SPDX-License-Identifier: Apache-2.0
"""Operations of a known number, made by a small C program in a cgroup: programs/generator.c."""

import json
import subprocess
import tempfile
from collections.abc import Generator as Yields
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import program
from bench.cgroup import Cgroup
from bench.errors import BenchError

MOST = 50_000_000
"""Operations of one run, where its time is the bound that is meant."""
OWN_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""A network namespace that goes away with the process."""
Form = Literal["opens", "execs", "connects", "getpid"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one generator, or several together, did. cpu: seconds, children's included."""

    done: int
    seconds: float
    cpu: float

    @property
    def ns_each(self) -> float:
        """CPU time of one operation."""
        return self.cpu / self.done * 1e9 if self.done else float("nan")

    def plus(self, other: "Work") -> "Work":
        """Add what was done at the same time."""
        return Work(self.done + other.done, max(self.seconds, other.seconds), self.cpu + other.cpu)


class Generator:
    """The compiled program."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def start(
        self,
        cgroup: Cgroup,
        form: Form,
        what: str,
        *,
        count: int = MOST,
        seconds: float = 60.0,
        rate: int = 0,
    ) -> subprocess.Popen[str]:
        """Start one process; rate: operations a second, 0: as many as it can."""
        milliseconds = str(round(seconds * 1000))
        words = [str(self._program), form, what, str(count), milliseconds, str(rate)]
        if form == "connects":
            words = [*OWN_NETWORK, *words]
        return subprocess.Popen(cgroup.entering(words), stdout=subprocess.PIPE, text=True)

    def run(
        self,
        cgroup: Cgroup,
        form: Form,
        what: str,
        *,
        count: int = MOST,
        seconds: float = 60.0,
        rate: int = 0,
        processes: int = 1,
    ) -> Work:
        """Run processes side by side to their end; rate and count: of all together."""
        running = [
            self.start(
                cgroup,
                form,
                what,
                count=count // processes,
                seconds=seconds,
                rate=rate // processes,
            )
            for _ in range(processes)
        ]
        work = finished(running[0])
        for other in running[1:]:
            work = work.plus(finished(other))
        return work


def finished(process: subprocess.Popen[str]) -> Work:
    """Wait for a generator's end, and return what it did."""
    told, _ = process.communicate(timeout=120)
    if process.returncode:
        raise BenchError(f"a generator ended with {process.returncode}")
    numbers = json.loads(told.splitlines()[-1])
    if numbers["failed"]:
        raise BenchError(f"{numbers['failed']} of a generator's operations failed")
    return Work(numbers["done"], numbers["ns"] / 1e9, numbers["cpu_ns"] / 1e9)


@contextmanager
def compiled() -> Yields[Generator]:
    """Lend the program. Raises BenchError where there is no C compiler."""
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder:
        yield Generator(program.compiled("generator.c", Path(folder)))
