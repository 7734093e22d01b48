# SPDX-License-Identifier: Apache-2.0
"""What was recorded, and how a container gets its profile, for people. Pure."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from eunomia_agent.containers.runtime import Container
from eunomia_api import agent_pb2
from eunomia_api.capabilities import recommend
from eunomia_api.profile import Merged

KUBELET = Path("/var/lib/kubelet/seccomp")


def summary(merged: Merged) -> Iterator[str]:
    """Give lines about what was recorded, and what it may lack."""
    names = len(merged.calls.keys() | merged.compat_calls.keys())
    runs = "1 run" if merged.runs == 1 else f"{merged.runs} runs"
    yield (
        f"{names} system calls in {runs}, {merged.whole_runs} from the first instruction; "
        f"{len(merged.runtime_calls)} by the runtime before the exec"
    )
    if merged.compat_calls:
        yield f"{len(merged.compat_calls)} of them by 32-bit programs"
    if merged.nameless:
        yield f"without a name here, and so not in the profile: {', '.join(merged.nameless)}"
    if merged.runs and not merged.whole_runs:
        yield (
            "it ran already: what it calls at its start is not in the profile, and a container "
            "under it may not start; record a start as well"
        )
    if any(base != "Unconfined" for base in merged.bases):
        yield "a seccomp profile was on: what that refuses does not show, and stays refused"


def capabilities(learned: Sequence[agent_pb2.Learned]) -> Iterator[str]:
    """Give lines about the capabilities that were asked for, and the least that are needed."""
    found = recommend(learned)
    calls = {each.name: each.call for told in learned for each in told.capabilities}
    told = {
        word: ", ".join(f"{name} ({calls[name]})" if calls[name] else name for name in names)
        for word, names in (("used", found.used), ("denied", found.denied))
    }
    yield from (f"capabilities {word}: {names}" for word, names in told.items() if names)
    if found.used:
        added = "".join(f" --cap-add {name}" for name in found.add)
        yield f"  the least that it needs: --cap-drop ALL{added}"


def application(profile: Path, container: Container) -> Iterator[str]:
    """Give lines about how a container gets a profile. None takes one while it runs: seccomp(2)."""
    sandbox = container.sandbox
    if sandbox.namespace:
        # Below eunomia/ the agent removes what the operator does not know.
        path = KUBELET / "profiles" / profile.name
        yield f"{sandbox.namespace}/{sandbox.pod}/{container.name}: on each node,"
        yield f"  install -D -m 644 {shlex.quote(str(profile))} {shlex.quote(str(path))}"
        yield f"  then, in the pod's template, for the container {container.name}:"
        yield "  securityContext: {seccompProfile: {type: Localhost,"
        yield f"    localhostProfile: {path.relative_to(KUBELET)}}}}}"
    else:
        option = f"--security-opt seccomp={shlex.quote(str(profile.absolute()))}"
        yield f"{container.name}: run it again, as it was run, with"
        yield f"  docker run {option} … {shlex.quote(container.image)}"
