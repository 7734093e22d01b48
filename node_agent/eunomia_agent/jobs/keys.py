# SPDX-License-Identifier: Apache-2.0
"""From a job's use of a tracker to what is loaded for it, and what is left to the agent."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eunomia_agent.errors import ParamInvalid, SampleInvalid, TrackerUnknown
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue, Tracker
from eunomia_agent.trackers.key import Enforcement, Key
from eunomia_agent.wanted import params_of
from eunomia_api import agent_pb2, enforcement, sample
from eunomia_api.param import shown

if TYPE_CHECKING:
    from eunomia_agent.jobs.conditions import Conditions
    from eunomia_agent.jobs.whose import Whose
    from eunomia_api.where import Expression

DEFAULT_INTERVAL_MS = 10_000
MOST_TO_ENFORCE = 1 << 20
"""Bytes for the rows of a job that enforces a rule: they are few, and each is told."""


@dataclass(frozen=True, slots=True)
class Use:
    """A job's use of a tracker: what is loaded, and the condition that the kernel cannot decide.

    whose: of a job that enforces a rule, what it asks of owners alone.
    """

    key: Key
    rest: "Expression | None" = None
    whose: "Whose | None" = None


class Keys:
    """Says which instance a job's use of a tracker is."""

    def __init__(self, catalogue: Catalogue, objects: Path = OBJECTS) -> None:
        self._trackers = catalogue.trackers
        self._objects = objects
        self._conditions: dict[str, Conditions] = {}

    def use(self, job: agent_pb2.Job, tracker: agent_pb2.Tracker) -> Use:
        """Check a tracker's name, params and condition; fill in defaults. Raises TrackerError."""
        found = self._trackers.get(tracker.name)
        if found is None:
            known = ", ".join(sorted(self._trackers))
            raise TrackerUnknown(
                f"there is no tracker {shown(tracker.name)} in this agent; it has {known}"
            )
        try:
            values = found.check_params(params_of(tracker))
        except ValueError as error:
            raise ParamInvalid(f"{tracker.name}: {error}") from error
        try:
            sample.check(tracker.name, found.sources, tracker.sample)
        except ValueError as error:
            raise SampleInvalid(f"{tracker.name}: sample {error}") from error
        asked, rest, whose = self._asked(found, job, tracker)
        counts = any(source != "events" for source in found.sources)
        interval = job.interval_ms or DEFAULT_INTERVAL_MS
        memory = job.budget.memory_bytes
        if job.enforcement:
            memory = min(memory, MOST_TO_ENFORCE)
        key = Key(
            tracker.name,
            tuple(sorted(values.items())),
            memory // max(1, len(job.trackers)),
            conditions=asked,
            pids=tuple(sorted(set(job.target.pids))),
            children=job.target.children and bool(job.target.pids),
            interval_ms=interval if counts else 0,
            enforcement=_enforcement(job),
        )
        return Use(key, rest, whose)

    def _asked(
        self, tracker: Tracker, job: agent_pb2.Job, use: agent_pb2.Tracker
    ) -> "tuple[tuple[tuple[str, bytes], ...], Expression | None, Whose | None]":
        """Return what the kernel decides of what is asked of rows, the rest, and `whose`.

        Of a policy's rules nothing is left: its sink asks each one again, as a whole.
        """
        if not (use.where or job.rules or job.enforcement):
            return (), None, None
        from eunomia_agent.jobs.conditions import Conditions  # noqa: PLC0415  (loads a parser)
        from eunomia_agent.trackers.pushdown import variables  # noqa: PLC0415

        conditions = self._conditions.get(tracker.name)
        if conditions is None:
            btf = Btf.of_object((self._objects / f"{tracker.name}.bpf.o").read_bytes())
            conditions = self._conditions[tracker.name] = Conditions(tracker, btf)
        rest: Expression | None = None
        whose: Whose | None = None
        if job.enforcement:
            pushed, whose = conditions.of_enforced(job.rules[0], Enforcement(job.enforcement))
        elif job.rules:
            rules = [rule for rule in job.rules if tracker.name in rule.trackers]
            pushed = conditions.of_rules(rules)
        else:
            pushed, rest = conditions.of_where(use.where)
        return tuple(sorted(variables(pushed).items())), rest, whose


def _enforcement(job: agent_pb2.Job) -> Enforcement:
    asked = None if job.dry_run else enforcement.of_job(job)
    return Enforcement.NONE if asked is None else Enforcement(asked.wire)


UseOf = Callable[[agent_pb2.Job, agent_pb2.Tracker], Use]
