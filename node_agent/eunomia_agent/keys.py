# SPDX-License-Identifier: Apache-2.0
"""From a job's use of a tracker to what is loaded for it, and what is left to the agent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eunomia_agent.errors import ConditionInvalid, ParamInvalid, SampleInvalid, TrackerUnknown
from eunomia_agent.events.layout import SUBJECT_COLUMNS, Column
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.job import params_of
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue, Tracker
from eunomia_agent.trackers.key import Key
from eunomia_api import agent_pb2, sample
from eunomia_api.param import shown

if TYPE_CHECKING:
    from eunomia_api.where import Expression

DEFAULT_INTERVAL_MS = 10_000


@dataclass(frozen=True, slots=True)
class Use:
    """A job's use of a tracker: what is loaded, and the condition that the kernel cannot decide."""

    key: Key
    rest: "Expression | None" = None


class Keys:
    """Says which instance a job's use of a tracker is."""

    def __init__(self, catalogue: Catalogue, objects: Path = OBJECTS) -> None:
        self._trackers = catalogue.trackers
        self._objects = objects

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
        conditions, rest = self._condition(found, tracker.where) if tracker.where else ((), None)
        counts = any(source != "events" for source in found.sources)
        interval = job.interval_ms or DEFAULT_INTERVAL_MS
        key = Key(
            tracker.name,
            tuple(sorted(values.items())),
            job.budget.memory_bytes // max(1, len(job.trackers)),
            conditions=conditions,
            pids=tuple(sorted(set(job.target.pids))),
            children=job.target.children and bool(job.target.pids),
            interval_ms=interval if counts else 0,
        )
        return Use(key, rest)

    def _condition(
        self, tracker: Tracker, text: str
    ) -> "tuple[tuple[tuple[str, bytes], ...], Expression | None]":
        """Split a condition into what the kernel decides and the rest."""
        from eunomia_agent.trackers.pushdown import split  # noqa: PLC0415  (loads a parser)
        from eunomia_api.where import WhereInvalid, parse  # noqa: PLC0415

        try:
            expression = parse(text, tracker.columns, tracker.hidden)
        except WhereInvalid as error:
            raise ConditionInvalid(f"{tracker.name}: where: {error}") from error
        pushed, rest = split(expression, self._filterable(tracker))
        left = rest.columns & {column.name for column in tracker.hidden} if rest else None
        if left:
            raise ConditionInvalid(
                f"{tracker.name}: where: no row shows {', '.join(sorted(left))}, and the kernel"
                " cannot decide this"
            )
        return tuple(sorted((name, value.content) for name, value in pushed.items())), rest

    def _filterable(self, tracker: Tracker) -> Mapping[str, Column]:
        wanted = {column.name for column in tracker.columns if column.filterable}
        btf = Btf.of_object((self._objects / f"{tracker.name}.bpf.o").read_bytes())
        hidden = {column.name: SUBJECT_COLUMNS[column.name] for column in tracker.hidden}
        return hidden | {
            column.name: column
            for layout in result_layouts(btf).values()
            for column in layout.columns
            if column.name in wanted
        }


UseOf = Callable[[agent_pb2.Job, agent_pb2.Tracker], Use]
