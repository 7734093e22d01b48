# SPDX-License-Identifier: Apache-2.0
"""A SeccompProfile: its name, its versions, its file on the nodes, and where that lies. Pure."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eunomia_api import agent_pb2
from eunomia_api.profile import borne_names, digest, encode, profile
from eunomia_api.seccomp import (
    MAX_SYSCALLS,
    MAX_VERSIONS,
    ProfileVersion,
    Provenance,
    SeccompProfileSpec,
    SeccompProfileStatus,
)
from eunomia_operator import clock
from eunomia_operator.conditions import READY, Conditions, holds
from eunomia_operator.learned.inheritance import taken_over

LONGEST_NAME = 63
"""The name is also the value of the label that a pod gets with the profile."""
MOST_BYTES = 3 * 1024 * 1024
"""Of the files of all profiles together."""
NO_ROOM = f"the files of all profiles together may have at most {MOST_BYTES >> 20} MiB"
_NUMBERED = re.compile(r"v([1-9][0-9]{0,8})")
_HASH = 8


@dataclass(frozen=True, slots=True)
class Kept:
    """A SeccompProfile as it is known."""

    name: str
    spec: SeccompProfileSpec
    status: SeccompProfileStatus
    """What its status should say; its version is in the history."""

    @property
    def ready(self) -> bool:
        """Whether its file lies on every node."""
        return holds(self.status.conditions, READY)

    @property
    def allowed(self) -> frozenset[str]:
        """Names of all calls that its file allows, or answers as if there were none such."""
        return borne_names(content(self.spec))


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the file of a profile lies. problem: of some node where it does not, if one said so."""

    nodes: int
    ready: int
    newcomers: int = 0
    """Nodes that nothing was heard of, and that are too new for it to mean anything."""
    problem: str = ""
    no_room: bool = False
    """The files are too many: nodes are not told of this one."""
    lacking: str = ""
    """Why its base cannot be told, if it cannot, and what stands in for it."""
    no_file: bool = False
    """Nothing does: nodes are not told of this one."""


def name_of(policy: str, container: str, taken: Iterable[str] = (), uid: str = "") -> str:
    """Return the name of the profile of a policy's containers of one name.

    taken: names of profiles that are not the policy's. uid: the policy's.
    """
    plain = f"{policy}-{container}"
    if len(plain) <= LONGEST_NAME and plain not in taken:
        return plain
    told = hashlib.sha256(f"{uid or policy}/{container}".encode()).hexdigest()[:_HASH]
    return f"{plain[: LONGEST_NAME - _HASH - 1].rstrip('.-')}-{told}"


def path_of(namespace: str, name: str) -> str:
    """Return where the file lies, below the kubelet's seccomp folder; the same for all versions."""
    return f"eunomia/{namespace}/{name}.json"


def content(spec: SeccompProfileSpec) -> dict[str, Any]:
    """Return what the file of a profile says."""
    return profile(
        calls_of(spec),
        spec.architectures,
        base=spec.base.value,
        default_action=spec.default_action,
    )


def calls_of(spec: SeccompProfileSpec) -> frozenset[str]:
    """Return the calls of a profile's own list, and those of the profile that is its base."""
    return frozenset((*spec.syscalls, *spec.base_syscalls))


def file_of(namespace: str, name: str, spec: SeccompProfileSpec) -> agent_pb2.SeccompFile:
    """Return the file of a profile as agents are told of it."""
    encoded = encode(content(spec))
    return agent_pb2.SeccompFile(
        path=path_of(namespace, name), content=encoded, sha256=digest(encoded)
    )


def fitting(
    files: Mapping[tuple[str, str], agent_pb2.SeccompFile], own_namespace: str
) -> list[agent_pb2.SeccompFile]:
    """Return the files for which there is room in a message, in the order of their paths.

    files: by namespace and name of the profile. own_namespace: the operator's, whose files go
    before all others. Of the others those go first whose namespace has the fewest bytes up to
    there: one that has much keeps none that has little from its share.
    """
    used = Counter[str]()
    queue: list[tuple[bool, int, str, agent_pb2.SeccompFile]] = []
    for (namespace, _), file in sorted(files.items(), key=lambda each: each[0]):
        used[namespace] += file.ByteSize()
        queue.append((namespace != own_namespace, used[namespace], file.path, file))
    room, found = MOST_BYTES, list[agent_pb2.SeccompFile]()
    for *_, file in sorted(queue, key=lambda each: each[:3]):
        size = file.ByteSize()
        if size <= room:
            room -= size
            found.append(file)
    return sorted(found, key=lambda file: file.path)


def next_version(history: Iterable[ProfileVersion]) -> str:
    """Return the name of the version after all that there were."""
    numbers = (_NUMBERED.fullmatch(each.version) for each in history)
    return f"v{max((int(found[1]) for found in numbers if found), default=0) + 1}"


def judge(
    before: SeccompProfileStatus,
    spec: SeccompProfileSpec,
    file: agent_pb2.SeccompFile,
    spread: Spread,
    *,
    generation: int,
    now: float,
) -> SeccompProfileStatus:
    """Return the status that a profile should have now. now: Unix time in seconds."""
    said = Conditions(before.conditions, generation, now)
    lacking = spread.nodes - spread.ready
    where = f"on {spread.ready} of {spread.nodes} nodes"
    was_ready = holds(before.conditions, READY) and before.sha256 == file.sha256
    if spread.no_file:
        said.put(READY, False, "BaseNotUsable", spread.lacking)
        return before.model_copy(
            update={
                "conditions": said.listed(),
                "observed_generation": generation,
                "nodes_ready": spread.ready,
                "nodes": spread.nodes,
            }
        )
    if spread.lacking:
        where += f"; {spread.lacking}"
    if spread.no_room:
        said.put(READY, False, "TooManyProfiles", NO_ROOM)
    elif spread.nodes and not lacking:
        said.put(READY, True, "OnAllNodes", where)
    elif was_ready and lacking <= spread.newcomers:
        said.put(READY, True, "OnAllNodes", f"{where}; the others are new")
    else:
        problem = f"; {spread.problem}" if spread.problem else ""
        said.put(READY, False, "Distributing", where + problem)
    return before.model_copy(
        update={
            "conditions": said.listed(),
            "observed_generation": generation,
            "localhost_profile": file.path,
            "sha256": file.sha256,
            "nodes_ready": spread.ready,
            "nodes": spread.nodes,
            "history": _history(before.history, spec, file.sha256, now),
        }
    )


def _history(
    before: list[ProfileVersion], spec: SeccompProfileSpec, sha256: str, now: float
) -> list[ProfileVersion]:
    known = {each.version: each for each in before}
    present = known.get(spec.version)
    told: dict[str, object] = {
        "sha256": sha256,
        "base": spec.base,
        "architectures": spec.architectures,
        "base_profile_name": spec.base_profile_name or "",
        "base_syscalls": spec.base_syscalls,
        "base_profile_base": spec.base_profile_base,
    }
    if present is not None:
        if present is before[0]:
            told["provenance"] = spec.provenance
        changed = present.model_copy(update=told)
        return [changed if each is present else each for each in before]
    calls, older = calls_of(spec), _calls_of_version(before[0]) if before else frozenset[str]()
    fresh = ProfileVersion(
        version=spec.version,
        created=clock.written(now),
        added=sorted(calls - older)[:MAX_SYSCALLS],
        removed=sorted(older - calls)[:MAX_SYSCALLS],
        syscalls=spec.syscalls,
        provenance=spec.provenance,
    ).model_copy(update=told)
    return [fresh, *before][:MAX_VERSIONS]


def _calls_of_version(version: ProfileVersion) -> frozenset[str]:
    return frozenset((*version.syscalls, *version.base_syscalls))


def without_base(
    status: SeccompProfileStatus, own: SeccompProfileSpec
) -> tuple[SeccompProfileSpec, str] | None:
    """Return what a profile says while its base cannot be told, and what of it is of before.

    That is what it took over from this base last. If it never did, it is all of the version whose
    file lies on the nodes; None where there is none either. own: what its object says.
    """
    named = own.base_profile_name or ""
    took = next((each for each in status.history if each.base_profile_name == named), None)
    if took is not None:
        return taken_over(took).under(own), "what its base allowed last is kept"
    last = next((each for each in status.history if each.sha256 == status.sha256), None)
    return None if last is None else (restored(own, last), f"all stays as {last.version} was")


def restored(spec: SeccompProfileSpec, version: ProfileVersion) -> SeccompProfileSpec:
    """Return a profile as it was in a version."""
    return spec.model_copy(
        update={
            "version": version.version,
            "syscalls": version.syscalls,
            "base": version.base or spec.base,
            "architectures": version.architectures or spec.architectures,
            "base_profile_name": version.base_profile_name or None,
            "base_syscalls": version.base_syscalls,
            "base_profile_base": version.base_profile_base,
            "provenance": version.provenance or _told_of(spec, version),
        }
    )


def _told_of(spec: SeccompProfileSpec, version: ProfileVersion) -> Provenance:
    """Return what a profile itself says of where a version is from, which an older one may have."""
    return spec.provenance if spec.version == version.version else Provenance()


def versions(kept: Kept) -> Mapping[str, ProfileVersion]:
    """Return the versions of a profile that one may go back to, by name, the newest first."""
    return {each.version: each for each in kept.status.history}
