# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp`: records what is called, and makes a profile of it."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eunomia_agent.cli import advice, profiles
from eunomia_agent.cli.engine import EngineError, engine_of
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.machine import require
from eunomia_agent.cli.profiles import Basis
from eunomia_agent.cli.rerun import CannotRerun, rerun
from eunomia_agent.cli.watch import Seen, Whom, watch
from eunomia_agent.containers.runtime import Container
from eunomia_agent.learning import libseccomp
from eunomia_api import agent_pb2
from eunomia_api.profile import encode, merge, profile


@dataclass(frozen=True, slots=True)
class Made:
    """What is made of it. output: None for standard output.

    base: None, RuntimeDefault, or the file of a profile.
    """

    output: Path | None
    base: str = "None"
    allow: tuple[str, ...] = ()


def record(whom: Whom, made: Made) -> int:
    """Record, and write the profile; return the command's exit code. Raises AgentError."""
    _check(whom, made)
    basis = profiles.basis(made.base)
    require(())
    seen = asyncio.run(watch(whom, agent_pb2.Learning(seccomp=True, capabilities=True)))
    content = _write(seen, made, basis)
    if made.output is not None:
        _apply(content, made.output, seen.meant)
    return seen.code


def _check(whom: Whom, made: Made) -> None:
    whom.check()
    if whom.target and not whom.container:
        raise CommandError("--target needs the container to learn from: give --source")
    if whom.target and made.output is None:
        raise CommandError("--target needs a file for the profile: give -o FILE")
    with suppress(libseccomp.LibseccompMissing):
        if unknown := libseccomp.unknown(made.allow):
            raise CommandError(f"--allow: there is no system call {', '.join(unknown)}")


def _write(seen: Seen, made: Made, basis: Basis) -> bytes:
    """Write the profile, and tell of it; return its content."""
    merged = merge(seen.learned)
    if not merged.runs or not merged.calls:
        raise CommandError("nothing was called: no profile is written")
    found = profile(
        merged.allowed,
        merged.architectures,
        base=basis.base,
        allow=basis.calls.union(made.allow),
        rules=basis.rules,
    )
    content = encode(found)
    lines = [*advice.summary(merged), *advice.capabilities(seen.learned)]
    with suppress(libseccomp.LibseccompMissing):
        libseccomp.compile_profile(found)
        if unknown := libseccomp.unknown(sorted(merged.allowed)):
            lines.append(f"libseccomp here does not know {', '.join(unknown)}: no filter has them")
    if seen.problem:
        lines.append(seen.problem)
    if made.output is None:
        sys.stdout.write(f"{json.dumps(found, indent=2)}\n")
    else:
        part = made.output.with_name(f".{made.output.name}.{os.getpid()}")
        try:
            part.write_bytes(content)
            part.replace(made.output)
        except OSError as error:
            raise CommandError(f"{made.output}: {error.strerror}") from None
        lines.append(f"written to {made.output}")
    _tell(lines)
    return content


def _apply(content: bytes, profile: Path, meant: Sequence[Container]) -> None:
    """Have containers wear a profile, or tell how they get it. Raises CommandError."""
    problems: list[str] = []
    for container in meant:
        try:
            known = None if container.sandbox.namespace else engine_of(container.id)
            if known is None:
                _tell(advice.application(profile, container))
            else:
                _tell(rerun(*known, content.decode()))
        except (CannotRerun, EngineError) as error:
            problems.append(str(error))
            _tell(advice.application(profile, container))
    if problems:
        raise CommandError("; ".join(problems))


def _tell(lines: Iterable[str]) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
