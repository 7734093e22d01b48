# SPDX-License-Identifier: Apache-2.0
"""Two generators of opens, flat out, in a cgroup of their own."""

import json
import secrets
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from dev.folders import PROJECT
from eunomia_agent.containers.hierarchy import find_root

GENERATORS = 2
PREFIX = "/eunomia-bench"
"""Nothing of that name is there: an open that fails makes an event like any other."""
ENTER = 'echo $$ > "$0" && exec "$@"'
"""A shell's way into a cgroup."""
SOURCE = PROJECT / "dev" / "image" / "generator.c"


class Load:
    """A cgroup, and the program that makes events in it."""

    def __init__(self, cgroup: Path, program: Path) -> None:
        self._cgroup = cgroup
        self._program = program
        self._children: list[subprocess.Popen[str]] = []

    @property
    def cgroup_id(self) -> int:
        """The id of the cgroup: the inode of its folder."""
        return self._cgroup.stat().st_ino

    def start(self, opens: int) -> None:
        """Start the generators; each makes that many opens and ends by itself."""
        for number in range(GENERATORS):
            words = (str(self._program), "opens", str(opens), f"{PREFIX}-{number}")
            command = ["sh", "-c", ENTER, str(self._cgroup / "cgroup.procs"), *words]
            self._children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def running(self) -> bool:
        """Whether any generator runs."""
        return any(child.poll() is None for child in self._children)

    def made(self) -> int:
        """Return how many opens were made in all. The generators have ended."""
        made = 0
        for child in self._children:
            told, _ = child.communicate(timeout=60)
            if child.returncode:
                raise BenchError(f"a generator ended with {child.returncode}")
            made += int(json.loads(told.splitlines()[-1])["done"])
        self._children.clear()
        return made

    def close(self) -> None:
        """End what runs, and remove the cgroup."""
        for child in self._children:
            child.kill()
            child.wait()
        self._cgroup.rmdir()


@contextmanager
def load() -> Generator[Load]:
    """Lend a load. Raises BenchError where there is no cgroup v2 tree or no C compiler."""
    root = find_root(Path("/proc/self/mountinfo").read_text())
    if root is None:
        raise BenchError("no cgroup v2 tree is mounted")
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder:
        program = Path(folder) / "generator"
        compiler = ["cc", "-O2", "-static", "-o", str(program), str(SOURCE)]
        ended = subprocess.run(compiler, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise BenchError(f"the generator cannot be compiled: {ended.stderr.strip()}")
        cgroup = root / f"eunomia-bench-{secrets.token_hex(4)}"
        cgroup.mkdir()
        lent = Load(cgroup, program)
        try:
            yield lent
        finally:
            lent.close()
