# SPDX-License-Identifier: Apache-2.0
"""The control loop: brings desired states and statuses in line with what is known.

Whatever happens only marks what it touches and wakes the loop; one pass then does it all.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from eunomia_api import agent_pb2, library
from eunomia_api.message import SPARED
from eunomia_api.tracejob import Phase
from eunomia_api.tracker import Catalogue
from eunomia_operator import conditions
from eunomia_operator.accounting.records import Slots
from eunomia_operator.alerts.desk import Desk
from eunomia_operator.cluster.publisher import Publisher, StatusStore
from eunomia_operator.conditions import ACCEPTED, READY
from eunomia_operator.metrics import Metrics, PolicyState
from eunomia_operator.objects.followed import Followed, Heard
from eunomia_operator.objects.job import Job
from eunomia_operator.objects.places import Places
from eunomia_operator.objects.policy import Policy, Terms
from eunomia_operator.objects.shelf import Shelf, linux_nodes
from eunomia_operator.objects.turn import in_turn
from eunomia_operator.objects.world import Body, Kind, Reference, Resource, World
from eunomia_operator.planning import plan
from eunomia_operator.status.news import News

logger = logging.getLogger("eunomia.control")

DEBOUNCE_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""Deadlines, grace periods and counters are looked at so often."""
GRACE_SECONDS = 30.0
"""So long may a node be without a stream before it counts as unreachable."""
SLICE_SECONDS = 0.2
"""So long may a pass judge what is new; the rest waits, since the Lease must be renewed."""
REST_SECONDS = 0.1
TAKE_UP_SECONDS = 60.0
"""So long a new leader judges what there is before it leads with what it has."""


class Streams(Protocol):
    """Who is connected."""

    @property
    def nodes(self) -> Iterable[str]:
        """Names of the nodes whose agent is connected."""
        ...

    def left_at(self, node: str) -> float | None:
        """Return when the last stream of a node ended."""
        ...

    def forget(self, node: str) -> None:
        """Forget a node that is gone."""
        ...

    def push(self, nodes: Iterable[str]) -> None:
        """Send nodes what is now theirs."""
        ...


class Control:
    """Everything that one leader knows and decides."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: StatusStore,
        tell: Callable[[Reference, News, float], None],
        metrics: Metrics,
        *,
        desk: Desk | None = None,
        shelf: Shelf | None = None,
        places: Places | None = None,
        spared: Iterable[str] = SPARED,
    ) -> None:
        """desk: takes in alerts; without one they stay with the agents.

        shelf: keeps seccomp profiles; without one there are none.

        places: finds out which containers are a pod's init containers; without it nobody knows.

        spared: namespaces in which no policy responds.
        """
        self.world = World(self._world_changed)
        self._terms = Terms(catalogue, library.built_in(), tuple(spared))
        self._desk = desk
        self._publisher = Publisher(store, metrics)
        self._tell = tell
        self._metrics = metrics
        self._followed: dict[str, Followed[Any]] = {}
        self._policies: dict[str, Policy] | None = None
        self._slots = Slots()
        self._first_seen: dict[str, tuple[str, float]] = {}
        self._generation = 0
        self._desired: dict[str, tuple[bytes, ...]] = {}
        self._messages: dict[tuple[bytes, ...], bytes] = {}
        self._bodies = plan.Bodies()
        self._shelf = shelf
        self._files: tuple[bytes, ...] = ()
        self._places = places
        self._world_dirty = True
        self._wake = asyncio.Event()
        if desk is not None:
            desk.wake = self._wake.set
        if shelf is not None:
            shelf.see = self._profile_written
        if places is not None:
            places.wake = self._wake.set
        self._led_since = 0.0
        self._last_unreachable: frozenset[str] = frozenset()
        self.passed_at = time.monotonic()
        """When the last pass ended, on the monotonic clock."""

    async def take_up(self) -> None:
        """Judge what there is before anything is told: nodes end what they are not told of."""
        until = time.monotonic() + TAKE_UP_SECONDS
        while not self._take_in_resources():
            if time.monotonic() >= until:
                logger.warning("not all jobs and policies are judged yet; the others are led")
                break
            await asyncio.sleep(REST_SECONDS)

    def begin(self, now: float) -> None:
        """Lead from now on. now: Unix time in seconds."""
        self._led_since = now
        # Higher than whatever an earlier leader told, which began earlier.
        self._generation = int(now * 1000)

    # What agents ask and tell: the Office of the sessions.

    def node_uid(self, node: str) -> str:
        """Return the uid of a Node object; empty when there is none."""
        known = self.world.node(node)
        return known.uid if known else ""

    def desired_state(self, node: str) -> bytes | None:
        """Return the serialised message for a node; None when the node is not known."""
        if self.world.node(node) is None:
            return None
        whole = self._desired.get(node, ())
        message = self._messages.get(whole)
        if message is None:
            message = plan.desired_state(self._generation, whole, self._files)
            self._messages[whole] = message
        return message

    def report_interval(self) -> float:
        """Return the shortest time between two reports: longer, the more nodes there are."""
        return min(30.0, max(1.0, len(self._first_seen) * 0.002))

    def hear(self, node: str, report: agent_pb2.Report) -> None:
        """Take in a report of a node. What it says of jobs that are not its own is passed over."""
        self._metrics.reports.inc()
        if report.has_seccomp_files and self._shelf is not None and self.world.node(node):
            self._shelf.hear(node, report.seccomp_files)
            self._wake.set()
        for told in report.jobs:
            followed = self._followed.get(told.uid.partition("/")[0])
            if followed is None or node not in followed.nodes or node in followed.left_out:
                continue
            match followed.hear(node, told):
                case Heard.MOVED:
                    self._wake.set()
                case Heard.UNTRUE:
                    self._metrics.bad_reports.inc()
                    logger.warning("node %s says of %s what cannot be", node, followed.object.uid)
                case Heard.COUNTED:
                    pass

    def take_alerts(
        self, node: str, alerts: agent_pb2.Alerts, answer: Callable[[int], None]
    ) -> None:
        """Take in alerts of a node. answer: called once they are written down."""
        if self._desk is not None and self._policies is not None:
            self._desk.take(node, alerts, answer, self._policies, time.time())

    def policies(self) -> Mapping[str, Policy] | None:
        """Return the policies that there are, by uid; None when that is not known yet."""
        return self._policies

    # The loop.

    async def run(self, streams: Streams) -> None:
        """Pass again and again, until cancelled."""
        while True:
            self._wake.clear()
            began = time.monotonic()
            with self._metrics.reconcile.time():
                self.do_pass(streams, time.time())
            self.passed_at = time.monotonic()
            # What comes meanwhile waits together; long passes leave room for the streams.
            await asyncio.sleep(max(DEBOUNCE_SECONDS, 2 * (self.passed_at - began)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    def do_pass(self, streams: Streams, now: float) -> None:
        """Bring everything up to date."""
        changed = self._world_dirty
        self._world_dirty = False
        new_nodes = self._take_in_world(streams, now) if changed else frozenset[str]()
        unreachable = self._unreachable(streams, now)
        moved = unreachable != self._last_unreachable
        self._last_unreachable = unreachable
        self._look_at_profiles(now)
        self._look_at_places(now)
        for each in self._followed.values():
            if each.is_judgement_due(now) or (moved and not each.over):
                changed = self._judge(each, now, unreachable) or changed
        if changed or (self._shelf is not None and self._shelf.files != self._files):
            streams.push(self._plan() | new_nodes)
        self._order_profiles(now)
        for each in self._followed.values():
            self._publisher.look(each, now)
        if self._desk is not None:
            self._desk.look(self._policies or {}, now)
        self._count_states()

    async def close(self) -> None:
        """Let go of what is being written."""
        await self._publisher.close()
        if self._desk is not None:
            await self._desk.close()
        if self._shelf is not None:
            await self._shelf.close()
        if self._places is not None:
            await self._places.close()

    def _profile_written(self, body: Body) -> None:
        self.world.see(Kind.SECCOMP_PROFILES, "MODIFIED", body)

    def _world_changed(self) -> None:
        self._world_dirty = True
        self._wake.set()

    def _take_in_world(self, streams: Streams, now: float) -> frozenset[str]:
        """Find out what came, went or was edited; return the names of new nodes."""
        nodes = self.world.nodes
        gone = frozenset(
            name
            for name, (uid, _) in self._first_seen.items()
            if name not in nodes or nodes[name].uid != uid
        )
        for name in gone:
            del self._first_seen[name]
            streams.forget(name)
        new = frozenset(nodes.keys() - self._first_seen.keys())
        for name in new:
            self._first_seen[name] = (nodes[name].uid, now)
        if not self._take_in_resources():
            self._world_changed()
        placement = plan.Placement(nodes.values())
        for each in self._followed.values():
            each.assign(placement, gone)
        for name in gone:
            self._slots.release(name)
        if self._shelf is not None:
            self._stock(self._shelf, gone)
        return new

    def _stock(self, shelf: Shelf, gone: Iterable[str]) -> None:
        for name in gone:
            shelf.forget(name)
        known = self.world.nodes
        shelf.meet(
            linux_nodes(
                (name, known[name].labels, since) for name, (_, since) in self._first_seen.items()
            )
        )
        policies = (self._policies or {}).values()
        shelf.take_in(self.world.profiles, [each.object.reference for each in policies])

    def _look_at_profiles(self, now: float) -> None:
        """Find out where the profiles lie, and tell the policies of theirs and of their bases."""
        if self._shelf is not None:
            self._shelf.judge(now)
            profiles = self._shelf.by_policy()
            for uid, policy in (self._policies or {}).items():
                inherited = self._shelf.inherited(policy.object.reference, policy.base_profile)
                policy.note_profiles(profiles.get(uid, {}), inherited)

    def _look_at_places(self, now: float) -> None:
        """Find out in which list of their pod containers are, and tell the policies."""
        if self._places is not None and self._policies is not None:
            for uid, policy in self._policies.items():
                policy.note_places(self._places.known(uid))
            wanted = {uid: policy.unplaced() for uid, policy in self._policies.items()}
            self._places.look(wanted, now)

    def _order_profiles(self, now: float) -> None:
        if self._shelf is not None:
            for policy in (self._policies or {}).values():
                self._shelf.want(policy.object.reference, policy.wanted_profiles)
            self._shelf.look(now)

    def _take_in_resources(self) -> bool:
        """Find out what came, went or was edited; return whether all of it could be judged."""
        namespaces = self.world.namespaces
        ending = {name for name, each in namespaces.items() if each.terminating}
        seen = {each.uid: each for each in self.world.resources if each.namespace not in ending}
        for uid in self._followed.keys() - seen.keys():
            del self._followed[uid]
        until = time.monotonic() + SLICE_SECONDS
        waiting = in_turn(found for found in seen.values() if self._is_news(found))
        while waiting:
            self._take_in(waiting.pop(0))
            if time.monotonic() >= until:
                break
        self._policies = {
            uid: each for uid, each in self._followed.items() if isinstance(each, Policy)
        }
        return not waiting

    def _is_news(self, found: Resource) -> bool:
        followed = self._followed.get(found.uid)
        return followed is None or followed.object != found

    def _take_in(self, found: Resource) -> None:
        followed = self._followed.get(found.uid)
        if followed is None:
            self._followed[found.uid] = self._follow(found)
        else:
            followed.change(found)

    def _follow(self, seen: Resource) -> Followed[Any]:
        if seen.kind in ("SecurityPolicy", "ClusterSecurityPolicy"):
            return Policy(seen, self._terms, self._slots)
        return Job(seen, self._terms.catalogue, self._slots)

    def _unreachable(self, streams: Streams, now: float) -> frozenset[str]:
        since = now - GRACE_SECONDS
        if self._led_since > since:
            return frozenset()
        return frozenset(
            node
            for node in self._first_seen.keys() - set(streams.nodes)
            if max(self._first_seen[node][1], streams.left_at(node) or 0.0) <= since
        )

    def _judge(self, followed: Followed[Any], now: float, unreachable: frozenset[str]) -> bool:
        """Bring a status up to date; return whether nodes are to be told otherwise."""
        planned = followed.planned()
        try:
            happened = followed.judge(now, self._led_since, unreachable)
        except Exception:
            # One that surprises us must not stop the others.
            logger.exception("the status of %s could not be decided", followed.object.uid)
            return False
        for piece in happened:
            self._tell(followed.object.reference, piece, now)
        return followed.planned() != planned

    def _plan(self) -> frozenset[str]:
        """Decide what each node shall do; return the nodes for which that is news."""
        before = self._desired
        wanted = [planned for each in self._followed.values() if (planned := each.planned())]
        assigned = {uid: each.nodes for uid, each in self._followed.items()}
        namespaces = self.world.namespaces.values()
        desired = plan.desired_jobs(wanted, assigned, namespaces, self._bodies)
        self._desired = desired.jobs
        for uid, each in self._followed.items():
            if each.leave_out(desired.left_out.get(uid, frozenset())):
                self._wake.set()
        files = self._shelf.files if self._shelf is not None else ()
        others, self._files = files != self._files, files
        told = frozenset(
            node
            for node in self._first_seen
            if others or self._desired.get(node, ()) != before.get(node, ())
        )
        if told:
            self._generation += 1
            self._messages.clear()
            self._metrics.generation.set(self._generation)
        return told

    def _count_states(self) -> None:
        phases = dict.fromkeys(Phase, 0)
        states = dict.fromkeys(PolicyState, 0)
        for each in self._followed.values():
            if isinstance(each, Policy):
                states[_state(each)] += 1
            elif each.status.phase is not None:
                phases[each.status.phase] += 1
        for phase, count in phases.items():
            self._metrics.jobs.labels(phase.value).set(count)
        for state, count in states.items():
            self._metrics.policies.labels(state.value).set(count)


def _state(policy: Policy) -> PolicyState:
    told = policy.status.conditions
    if conditions.holds(told, READY):
        return PolicyState.READY
    return PolicyState.PENDING if conditions.holds(told, ACCEPTED) else PolicyState.REFUSED
