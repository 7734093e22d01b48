# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp audit`: what a profile would refuse, and who called it."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eunomia_agent.cli import profiles
from eunomia_agent.cli.errors import CommandError, one_line
from eunomia_agent.cli.machine import require
from eunomia_agent.cli.trackers import table
from eunomia_agent.cli.watch import Seen, Whom, watch
from eunomia_agent.finding import Finding
from eunomia_api import agent_pb2
from eunomia_api.findings import CALL_REFUSED

REFUSED = 1
"""The exit code where the profile would refuse anything."""
HEAD = ("CALL", "COUNT", "COMM", "PID", "EXE", "STARTED BY", "CONTAINER", "NOW")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call beside a profile. comm and what follows: of who made it first, as far as is known.

    refused: another filter, which is on, refused it already. ancestors: the parent first.
    """

    container: str
    call: str
    count: int
    refused: bool
    comm: str
    pid: int | None = None
    uid: int | None = None
    exe: str = ""
    ancestors: Sequence[str] = ()


def audit(whom: Whom, profile: str, output: Path | None, *, as_json: bool) -> int:
    """Watch, and tell; return REFUSED, or else the command's exit code. Raises AgentError."""
    whom.check()
    borne = profiles.borne(profiles.checked(profile))
    require(())
    wanted = agent_pb2.Learning(seccomp=True)
    wanted.audited.add(syscalls=sorted(borne))
    seen = asyncio.run(watch(whom, wanted))
    found = list(refusals(seen, borne))
    _write(_lines(found) if as_json else _table(found), output)
    sys.stderr.write("".join(f"{line}\n" for line in _summary(found, seen, profile)))
    return REFUSED if found else seen.code


def refusals(seen: Seen, borne: frozenset[str]) -> Iterator[Refusal]:
    """Give the calls that a profile does not bear, those of a container together."""
    callers = _callers(seen.findings)
    for each in seen.learned:
        for refusal in sorted(each.refusals, key=lambda told: (-told.count, told.call)):
            if refusal.call.removesuffix(" (32-bit)") in borne:
                continue
            row = callers.get((each.container, refusal.call, refusal.enforced), {})
            who = {key: row[key] for key in ("pid", "uid", "exe", "ancestors") if key in row}
            yield Refusal(
                container=each.container,
                call=refusal.call,
                count=refusal.count,
                refused=refusal.enforced,
                comm=row.get("comm", refusal.comm),
                **who,
            )


def _callers(findings: Sequence[Finding]) -> Mapping[tuple[str, str, bool], Mapping[str, Any]]:
    found: dict[tuple[str, str, bool], Mapping[str, Any]] = {}
    for each in findings:
        if each.rule == CALL_REFUSED:
            found.setdefault((each.owner.container, each.row["call"], not each.dry_run), each.row)
    return found


def _lines(found: Sequence[Refusal]) -> str:
    return "".join(f"{json.dumps(asdict(each))}\n" for each in found)


def _table(found: Sequence[Refusal]) -> str:
    rows = [HEAD, *(tuple(map(one_line, _row(each))) for each in found)]
    return "".join(f"{line}\n" for line in table(rows, indent=0)) if found else ""


def _row(each: Refusal) -> Iterator[str]:
    yield from (each.call, str(each.count), each.comm or "-")
    yield "-" if each.pid is None else str(each.pid)
    yield each.exe or "-"
    yield ", ".join(each.ancestors) or "-"
    yield each.container or "-"
    yield "refused" if each.refused else "let through"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}") from None


def _summary(found: Sequence[Refusal], seen: Seen, profile: str) -> Iterator[str]:
    if not any(each.runs for each in seen.learned):
        yield "nothing was called: nothing is known of what the profile would refuse"
        return
    names = {call.name for each in seen.learned for call in (*each.calls, *each.compat_calls)}
    called = f"of {len(names)} system calls that were made" if names else "of what was called"
    number = len({each.call for each in found})
    told = f"{number}, listed above" if number else "none"
    yield f"{called}, {profile} would refuse {told}"
    if seen.problem:
        yield seen.problem
