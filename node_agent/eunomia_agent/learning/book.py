# SPDX-License-Identifier: Apache-2.0
"""What the containers of one name did, for one job: each run of a container counts once a call."""

from collections.abc import Iterable, Mapping
from typing import Any

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.learning import calls
from eunomia_agent.learning.counts import Counts
from eunomia_agent.learning.run import Did, Run
from eunomia_api import agent_pb2

MAX_PODS = 8
"""Names of pods that are told."""


class Book:
    """The runs of containers of one name: those that have ended, counted, and those that go on."""

    def __init__(self, since_ms: int) -> None:
        self._ended = Counts()
        self._since_ms = since_ms
        self._last_new_ms = 0
        self._known: frozenset[str] = frozenset()
        self._pods: list[str] = []
        self._last_pod: tuple[str, str] | None = None
        """Namespace and name of the newest."""
        self._image = ""
        self.runs: dict[str, Run] = {}
        self._frozen: set[str] = set()
        """Containers that go on, and are recorded for other jobs at most."""
        self._last: tuple[int, Confinement] | None = None
        """The container that ended last, of those of which it was told what it may do."""

    def meet(
        self, container_id: str, run: Run, *, pod: str, image: str, namespace: str = ""
    ) -> None:
        """Take note of a run. namespace: of its pod."""
        self.runs[container_id] = run
        self._frozen.discard(container_id)
        self._image = image or self._image
        if pod and namespace:
            self._last_pod = namespace, pod
        if pod and pod not in self._pods:
            self._pods = [*self._pods, pod][-MAX_PODS:]

    def freeze(self, container_id: str, now_ms: int) -> None:
        """Take note that what a container does from now on is not for this job."""
        if container_id in self.runs and container_id not in self._frozen:
            self.look(now_ms)
            self.runs[container_id] = self.runs[container_id].frozen()
            self._frozen.add(container_id)

    def end(self, container_id: str, now_ms: int) -> None:
        """Take note that a container has ended, if it was one of these."""
        if container_id in self.runs:
            self.look(now_ms)
            run = self.runs.pop(container_id)
            self._ended.add(run)
            if run.confinement is not None:
                self._last = now_ms, run.confinement
            self._frozen.discard(container_id)

    def look(self, now_ms: int) -> None:
        """Take note of what no run had done before."""
        dids = [run.did() for run in self.runs.values()]
        new = {name for did in dids for name in _names(did)} - self._known
        if new:
            self._known |= new
            self._last_new_ms = now_ms

    def learned(self, container: str) -> agent_pb2.Learned:
        """Return it as it is reported."""
        counts = self._ended.copy()
        for run in self.runs.values():
            counts.add(run)
        return agent_pb2.Learned(
            container=container,
            runs=counts.runs,
            whole_runs=counts.whole_runs,
            calls=_wire(counts.calls),
            compat_calls=_wire(counts.compat_calls),
            runtime_calls=_wire(counts.runtime_calls),
            since_ms=self._since_ms,
            last_new_ms=self._last_new_ms,
            base=", ".join(sorted(counts.bases)),
            capabilities=[
                agent_pb2.CapabilityCount(
                    name=name,
                    granted=asked.granted,
                    denied=asked.denied,
                    call=calls.name(asked.call, calls.OWN) if asked.call >= 0 else "",
                    runs=counts.capability_runs[name],
                )
                for name, asked in sorted(counts.capabilities.items())
            ],
            refusals=[
                agent_pb2.Refusal(call=name, count=each.count, comm=each.comm, enforced=enforced)
                for (name, enforced), each in sorted(counts.refusals.items())
            ],
            image=self._image,
            architecture=calls.ARCHITECTURE,
            pods=self._pods,
            replicas=counts.pods.count,
            given=self._given(),
            last_pod=self._last_pod
            and agent_pb2.Pod(namespace=self._last_pod[0], name=self._last_pod[1]),
        )

    def _given(self) -> agent_pb2.Given | None:
        """Return what the runtime gives the containers that run now, or gave the last one."""
        now = [
            run.confinement
            for container_id, run in self.runs.items()
            if run.confinement is not None and container_id not in self._frozen
        ]
        until_ms, last = (0, now) if now or self._last is None else (self._last[0], [self._last[1]])
        sets = [each.capabilities for each in last if each.capabilities is not None]
        if not sets:
            return None
        return agent_pb2.Given(
            capabilities=sorted(frozenset[str]().union(*sets)),
            privileged=any(each.privileged for each in last),
            until_ms=until_ms,
        )

    def saved(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "sinceMs": self._since_ms,
            "lastNewMs": self._last_new_ms,
            "known": sorted(self._known),
            "pods": self._pods,
            "lastPod": self._last_pod,
            "image": self._image,
            "ended": self._ended.saved(),
            "last": None if self._last is None else [self._last[0], self._last[1].saved()],
            "runs": [each for each in self.runs if each not in self._frozen],
            "frozen": {each: self.runs[each].saved() for each in self._frozen},
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any], runs: Mapping[str, Run]) -> "Book":
        """Return what was saved; runs: those that went on. Raises KeyError, TypeError …"""
        book = cls(int(saved["sinceMs"]))
        book._last_new_ms = int(saved["lastNewMs"])
        book._known = frozenset(map(str, saved["known"]))
        book._pods = [str(pod) for pod in saved["pods"]]
        book._image = str(saved["image"])
        book._ended = Counts.restored(saved["ended"])
        if (pod := saved.get("lastPod")) is not None:
            book._last_pod = str(pod[0]), str(pod[1])
        if (last := saved.get("last")) is not None:
            book._last = int(last[0]), Confinement.restored(last[1])
        book.runs = {container_id: runs[container_id] for container_id in saved["runs"]}
        for container_id, frozen in saved.get("frozen", {}).items():
            book.runs[str(container_id)] = Run.restored(frozen)
            book._frozen.add(str(container_id))
        return book


def _names(did: Did) -> Iterable[str]:
    yield from calls.names(did.called.own | did.runtime.own, calls.OWN)
    yield from (f"{name} (32-bit)" for name in calls.names(did.called.compat, calls.COMPAT))


def _wire(counts: Mapping[str, int]) -> list[agent_pb2.CallCount]:
    return [agent_pb2.CallCount(name=name, runs=runs) for name, runs in sorted(counts.items())]
