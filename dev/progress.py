# SPDX-License-Identifier: Apache-2.0
"""Progress of slow work, on stderr: what goes on, and for how long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.errors import CommandFailed

QUIET_SECONDS = 2.0
"""Work shorter than this is not worth a line."""

REPEAT_SECONDS = 10.0
"""How often a line is printed while the work goes on."""


def say(text: str) -> None:
    """Print one line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(what: str, detail: Callable[[], str] = str) -> Generator[None, None, None]:
    """Tell about `what` while the block runs: after 2 s, every 10 s, and at its end.

    `detail` gives what there is to say about the moment, possibly nothing.
    """
    begun = time.monotonic()
    over = threading.Event()

    def elapsed() -> int:
        return round(time.monotonic() - begun)

    def tell() -> None:
        wait = QUIET_SECONDS
        while not over.wait(wait):
            say(f"  {what} … {elapsed()} s  {detail()}".rstrip())
            wait = REPEAT_SECONDS

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
    if time.monotonic() - begun >= QUIET_SECONDS:
        say(f"  {what}: done in {elapsed()} s")


def run(
    what: str,
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    landmark: str = "",
) -> None:
    """Run a command as one step, its output appended to `log`.

    The last line of output that holds `landmark` is shown as the progress goes on.
    Raises CommandFailed with the end of the output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0

    def detail() -> str:
        lines = tail(log, begin, lines=500).splitlines() if landmark else []
        return next((line.strip()[:60] for line in reversed(lines) if landmark in line), "")

    with step(what, detail), log.open("ab") as output:
        ended = subprocess.run(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment,
            check=False,
        )
    if ended.returncode != 0:
        raise CommandFailed(
            f"{what} failed ({argv[0]} exited with {ended.returncode}); "
            f"the whole output is in {log}, its end:\n{tail(log, begin)}"
        )


def tail(log: Path, begin: int = 0, lines: int = 20) -> str:
    """The last lines of a file from byte `begin` on, indented; empty when it is not there."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(begin, size - 16_384))
        text = file.read().decode(errors="replace")
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
