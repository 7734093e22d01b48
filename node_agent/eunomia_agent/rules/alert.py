# SPDX-License-Identifier: Apache-2.0
"""What is told when a rule is broken: agent.proto's Alert, made of the row with which it was."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eunomia_agent.containers.owner import Owner
from eunomia_api import agent_pb2

MAX_EVIDENCE = 2048
"""Bytes of a row in an alert: as many as an AlertReport takes (eunomia_api.alertreport)."""
MAX_ANCESTORS = 16
CUT = "cut"
"""The member that evidence has where some of the row is left out."""
_SHORTER = (1024, 256, 64, 16)


@dataclass(frozen=True, slots=True)
class Case:
    """A broken rule, and whose rows broke it.

    name: of the rule; uid: of the policy's object; key: the rows' group; at: when, by the rows' own
    clock, in nanoseconds; time_ns: the same as Unix time; rows: how many rows it took; once: of a
    container and key it is told once, whenever that is.
    """

    rule: agent_pb2.Rule
    name: str
    uid: str
    owner: Owner
    tracker: str
    key: str
    at: int
    time_ns: int
    rows: int
    once: bool = False


def alert_of(case: Case, row: Mapping[str, Any], message: str) -> agent_pb2.Alert:
    """Return what is told. row: as its JSON has it."""
    owner = case.owner
    return agent_pb2.Alert(
        id=id_of(case, row),
        policy_uid=case.uid,
        rule=case.name,
        severity=case.rule.severity,
        time_ns=case.time_ns,
        message=message,
        tracker=case.tracker,
        namespace=owner.namespace,
        pod=owner.pod,
        pod_uid=owner.pod_uid,
        container=owner.container,
        container_id=owner.container_id,
        image=owner.image,
        pid=_number(row, "pid"),
        uid=_number(row, "uid"),
        comm=str(row.get("comm", "")),
        ancestors=ancestors_of(row),
        evidence=evidence_of(row),
        count=case.rows,
        tags=case.rule.tags,
    )


def id_of(case: Case, row: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits: the same for the same rows, however often they are judged."""
    owner = case.owner.short_id
    moment = () if case.once else (case.time_ns, row.get("pid", 0))
    parts = (case.uid, case.name, owner, case.key, *moment)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def ancestors_of(row: Mapping[str, Any]) -> list[agent_pb2.Ancestor]:
    """Return the process's ancestors, the parent first, as far as the row tells of them.

    It has their ids as a list, and their names as a list or as one text, `sh<containerd-shim`.
    """
    pids, names = row.get("ancestor_pids"), row.get("ancestors") or []
    if not isinstance(pids, list):
        return []
    if isinstance(names, str):
        names = names.split("<")
    found: list[agent_pb2.Ancestor] = []
    for place, pid in enumerate(pids[:MAX_ANCESTORS]):
        if not isinstance(pid, int) or not 0 < pid < 1 << 32:
            break
        comm = str(names[place]) if place < len(names) else ""
        found.append(agent_pb2.Ancestor(pid=pid, comm=comm))
    return found


def evidence_of(row: Mapping[str, Any]) -> str:
    """Return a row as JSON of at most 2 KiB; what is left out is told by a member `cut`."""
    text = _dumped(row)
    for most in _SHORTER:
        if len(text) <= MAX_EVIDENCE:
            return text
        text = _dumped({**{name: _shorter(each, most) for name, each in row.items()}, CUT: True})
    room = MAX_EVIDENCE - len(_dumped({CUT: True}))
    kept: dict[str, Any] = {}
    for name, each in row.items():
        short = _shorter(each, _SHORTER[-1])
        room -= len(_dumped({name: short}))
        if room >= 0:
            kept[name] = short
    return _dumped({**kept, CUT: True})


def _shorter(value: object, most: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}…"
    if isinstance(value, list):
        return [_shorter(each, most) for each in value[:most]]
    return value


def _dumped(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"))


def _number(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name, 0)
    return value if isinstance(value, int) and 0 <= value < 1 << 32 else 0
