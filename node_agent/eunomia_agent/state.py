# SPDX-License-Identifier: Apache-2.0
"""What the agent keeps on the node's disk: the last desired state, the totals of its jobs, and
what was learned for policies.

Files, each replaced as a whole, so that a kill leaves the old one or the new one. Totals are
written before they are reported: an agent that starts again never reports less than before.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from eunomia_agent.errors import StateError
from eunomia_agent.silence import Moment
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2

logger = logging.getLogger("eunomia.state")


@dataclass(frozen=True, slots=True)
class JobTotals:
    """What one job came to on this node, by the name of the tracker."""

    trackers: Mapping[str, Totals] = field(default_factory=dict[str, Totals])
    gaps: int = 0
    running: bool = False
    """The job ran when this was written: until it runs again, there is a gap."""
    finished_deadline_ms: int = 0
    """The deadline that has passed, with which these totals are final; 0: none has."""
    policy: bytes = b""
    """Of a policy: its PolicyReport but for what was learned."""


@dataclass(frozen=True, slots=True)
class Desired:
    """The operator's last word."""

    state: agent_pb2.DesiredState
    node_uid: str
    heard: Moment
    """When that was."""


class Store:
    """The agent's folder. Every call blocks on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise StateError(
                f"{folder}: {error.strerror}; the agent needs a folder on the node that it can"
                " write to (EUNOMIA_STATE_DIR)"
            ) from error

    def load_desired(self) -> Desired | None:
        """Return the operator's last word, or None when there is none that can be read."""
        content = self._read("desired.json")
        state = agent_pb2.DesiredState()
        try:
            encoded = json.loads(content) if content else None
            if not isinstance(encoded, dict):
                return None
            state.ParseFromString(bytes.fromhex(encoded["state"]))
            heard = Moment(
                float(encoded["heard"]),
                float(encoded.get("heard_boot", 0.0)),
                str(encoded.get("boot_id", "")),
            )
            return Desired(state, str(encoded["node_uid"]), heard)
        except (ValueError, KeyError, TypeError, DecodeError) as error:
            logger.error("desired.json cannot be read, starting without it: %s", error)
            return None

    def save_desired(self, desired: Desired) -> None:
        """Keep the operator's last word. Raises OSError."""
        encoded = {
            "state": desired.state.SerializeToString().hex(),
            "node_uid": desired.node_uid,
            "heard": desired.heard.wall,
            "heard_boot": desired.heard.boot,
            "boot_id": desired.heard.boot_id,
        }
        self._replace("desired.json", json.dumps(encoded).encode())

    def load_totals(self) -> dict[str, JobTotals]:
        """Return the totals by the job's uid; none when they cannot be read."""
        content = self._read("totals.json")
        try:
            return {
                str(uid): _job_totals(job)
                for uid, job in (json.loads(content) if content else {}).items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.error("totals.json cannot be read, counting anew: %s", error)
            return {}

    def save_totals(self, totals: Mapping[str, JobTotals]) -> None:
        """Keep the totals. Raises OSError."""
        self._replace(
            "totals.json",
            json.dumps({uid: _encoded(job) for uid, job in totals.items()}).encode(),
        )

    def load_learned(self) -> dict[str, Any]:
        """Return what was learned for policies; nothing when it cannot be read."""
        try:
            content = json.loads(self._read("learned.json") or b"{}")
        except ValueError as error:
            logger.error("learned.json cannot be read, learning anew: %s", error)
            return {}
        return content if isinstance(content, dict) else {}

    def save_learned(self, learned: Mapping[str, Any]) -> None:
        """Keep what was learned. Raises OSError."""
        self._replace("learned.json", json.dumps(learned).encode())

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            logger.error("%s cannot be read: %s", name, error.strerror)
            return b""

    def _replace(self, name: str, content: bytes) -> None:
        fresh = self._folder / f".{name}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())
        fresh.replace(self._folder / name)


def _encoded(job: JobTotals) -> dict[str, Any]:
    return {**asdict(job), "policy": job.policy.hex()}


def _job_totals(job: dict[str, Any]) -> JobTotals:
    names = {each.name for each in fields(Totals)}
    return JobTotals(
        trackers={
            str(name): Totals(**{key: int(n) for key, n in totals.items() if key in names})
            for name, totals in job["trackers"].items()
        },
        gaps=int(job["gaps"]),
        running=bool(job["running"]),
        finished_deadline_ms=int(job["finished_deadline_ms"]),
        policy=bytes.fromhex(job.get("policy", "")),
    )
