# SPDX-License-Identifier: Apache-2.0
"""The SeccompProfile objects, their files, and which nodes have these.

Policies say which profiles there should be; each object that there is has its file sent to every
node, whoever wrote it. Objects are written in the background, one write of each at a time.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from pydantic import BaseModel, ValidationError

from eunomia_api import agent_pb2
from eunomia_api.seccomp import SeccompProfileSpec, SeccompProfileStatus
from eunomia_operator.errors import ClusterError
from eunomia_operator.learned import profile
from eunomia_operator.learned.inheritance import NOTHING, Bases, Inherited, Known
from eunomia_operator.learned.profile import Kept, Spread
from eunomia_operator.objects.world import Body, Key, Reference, Resource
from eunomia_operator.status.job import essence_of
from eunomia_operator.text import plain

logger = logging.getLogger("eunomia.profiles")

WRITES_AT_ONCE = 4
RETRY_SECONDS = 3.0
COUNTERS_SECONDS = 5.0
NEW_SECONDS = 60.0
"""So long a node may be known without a word of its files before a profile is Ready no more."""
MOST_FILES = 4096
"""Of a node's report."""
LONGEST_PATH = 300
LONGEST_PROBLEM = 256
_WINDOWS = "windows"
_OS = "kubernetes.io/os"


class ProfileStore(Protocol):
    """Where SeccompProfiles are kept."""

    async def create_profile(self, policy: Reference, key: Key, spec: dict[str, object], /) -> Body:
        """Create a SeccompProfile that goes with its policy; return it. key: its own."""
        ...

    async def replace_profile(self, seen: Resource, spec: dict[str, object], /) -> Body:
        """Replace the spec of a SeccompProfile, if it is still the same object; return it."""
        ...

    async def patch_status(self, resource: Resource, status: dict[str, object], /) -> None:
        """Write the status of a SeccompProfile."""
        ...


@dataclass(slots=True)
class _Record:
    """One profile. seen: its object; None when that is gone though its policy is not.

    owner: the uid of the policy that its object names.
    """

    seen: Resource | None
    owner: str
    own: SeccompProfileSpec
    """What its object says, without what it takes over from a base."""
    kept: Kept
    file: agent_pb2.SeccompFile
    written: SeccompProfileStatus
    """What its status says, as far as is known."""
    written_at: float = 0.0
    lacking: str = ""
    """Why its base cannot be told, if it cannot, and what stands in for it."""
    has_file: bool = True
    """Whether nodes can be told what it allows."""

    @property
    def can_change(self) -> bool:
        """Whether its version is written down among those that one may go back to.

        Nothing is changed before there is a way back from it.
        """
        return any(each.version == self.kept.spec.version for each in self.written.history)

    def is_write_due(self, now: float) -> bool:
        """Tell whether the status is to be written; counters alone may wait."""
        after, before = self.kept.status, self.written
        if self.seen is None or after == before:
            return False
        urgent = (after.history, after.sha256) != (before.history, before.sha256) or (
            essence_of(after.conditions) != essence_of(before.conditions)
        )
        return urgent or now >= self.written_at + COUNTERS_SECONDS


@dataclass(slots=True)
class _Order:
    """What a policy wants."""

    policy: Reference
    wanted: Mapping[str, SeccompProfileSpec] = field(default_factory=dict[str, SeccompProfileSpec])


class Shelf:
    """All profiles. Times are Unix times in seconds."""

    def __init__(self, store: ProfileStore, namespace: str) -> None:
        """namespace: the operator's own, where the profiles of ClusterSecurityPolicies are."""
        self._namespace = namespace
        self.see: Callable[[Body], None] = _nobody
        """Called with an object as it was written."""
        self._store = store
        self._records: dict[Key, _Record] = {}
        self._orders: dict[str, _Order] = {}
        self._bases: dict[str, Bases] = {}
        """By namespace."""
        self._homes: Mapping[str, str] = {}
        """By the uid of a policy: the namespace of its profiles."""
        self._nodes: Mapping[str, float] = {}
        self._told: dict[str, Mapping[str, str]] = {}
        self._lying = Counter[tuple[str, str]]()
        self._problems: dict[str, dict[str, str]] = {}
        self._fitting: frozenset[str] = frozenset()
        self._files: tuple[bytes, ...] = ()
        self._retry_at: dict[Key, float] = {}
        self._busy: set[Key] = set()
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def files(self) -> tuple[bytes, ...]:
        """What has to lie on every node: serialised `SeccompFile` messages."""
        return self._files

    # What nodes say.

    def meet(self, nodes: Mapping[str, float]) -> None:
        """Take in the names of all nodes that run containers of Linux, and since when each is."""
        self._nodes = nodes

    def hear(self, node: str, told: Iterable[agent_pb2.SeccompFileReport]) -> None:
        """Take in all that a node says of its files."""
        self.forget(node)
        reports = list(told)[:MOST_FILES]
        lying = {each.path: each.sha256 for each in reports if len(each.path) <= LONGEST_PATH}
        self._told[node] = lying
        self._lying.update(lying.items())
        for each in reports:
            if each.problem and each.path in lying:
                why = plain(each.problem, LONGEST_PROBLEM)
                self._problems.setdefault(each.path, {})[node] = why

    def forget(self, node: str) -> None:
        """Forget what a node said, since it is gone or says it anew."""
        before = self._told.pop(node, {})
        for each in before.items():
            self._lying[each] -= 1
            if not self._lying[each]:
                del self._lying[each]
        for path in before:
            problems = self._problems.get(path, {})
            problems.pop(node, None)
            if not problems:
                self._problems.pop(path, None)

    # What there is, and should be.

    def take_in(self, found: Iterable[Resource], policies: Iterable[Reference]) -> None:
        """Take in all objects that there are. policies: all that there are."""
        self._homes = {each.uid: self._home(each) for each in policies}
        seen = {(each.namespace, each.name): each for each in found}
        for key in self._records.keys() - seen.keys():
            record = self._records[key]
            if self._is_owned(key, record):
                # Pods that wear it may start again: the file stays, and the object is made anew.
                record.seen = None
            else:
                del self._records[key]
        for key, each in seen.items():
            before = self._records.get(key)
            if before is None or before.seen != each:
                self._read(key, each, before)
        self._orders = {uid: each for uid, each in self._orders.items() if uid in self._homes}
        self._find_bases()
        for key, record in self._records.items():
            if not record.owner:
                self._take_over(key, record)
        held = {key: each.file for key, each in self._records.items() if each.has_file}
        files = profile.fitting(held, self._namespace)
        self._fitting = frozenset(each.path for each in files)
        self._files = tuple(each.SerializeToString(deterministic=True) for each in files)

    def _find_bases(self) -> None:
        """Find out what can be a base. Where nothing changed, what was found out of it stays."""
        found: dict[str, dict[str, Known]] = {}
        for (namespace, name), each in self._records.items():
            found.setdefault(namespace, {})[name] = Known(each.own, each.owner)
        before, self._bases = self._bases, {}
        for namespace, known in found.items():
            bases = before.get(namespace)
            if bases is None or bases.known != known:
                bases = Bases(namespace, known)
            self._bases[namespace] = bases

    def _take_over(self, key: Key, record: _Record) -> None:
        """Add to a profile that somebody wrote what its base allows.

        Where that cannot be told, it goes on with what there was: pods that wear it start again.
        """
        (namespace, name), own = key, record.own
        found = NOTHING
        if own.base_profile_name is not None:
            found = self._bases[namespace].inherited(own.base_profile_name, heirs=[name])
        spec = found.under(own)
        record.lacking, record.has_file = found.problem, True
        if found.problem:
            before = profile.without_base(record.kept.status, own)
            record.has_file = before is not None
            if before is not None:
                spec, stays = before
                record.lacking = f"{stays}: {found.problem}"
        if spec != record.kept.spec:
            record.kept = Kept(name, spec, record.kept.status)
            record.file = profile.file_of(*key, spec)

    def inherited(self, policy: Reference, name: str | None) -> Inherited:
        """Return what a policy's profiles take over from the one that it names as their base."""
        if name is None:
            return NOTHING
        home = self._home(policy)
        bases = self._bases.get(home) or Bases(home, {})
        return bases.inherited(name, heirs=bases.owned_by(policy.uid))

    def _home(self, policy: Reference) -> str:
        return policy.namespace or self._namespace

    def _is_owned(self, key: Key, record: _Record) -> bool:
        """Tell whether a profile is that of a policy. Anybody can name one's uid elsewhere."""
        return self._homes.get(record.owner) == key[0]

    def _read(self, key: Key, seen: Resource, before: _Record | None) -> None:
        try:
            spec = SeccompProfileSpec.model_validate(seen.spec)
            written = SeccompProfileStatus.model_validate(seen.status or {})
        except ValidationError as error:
            logger.warning("SeccompProfile %s/%s cannot be read: %s", *key, error)
            return
        status = written
        if before is not None:
            same = before.seen is not None and before.seen.uid == seen.uid
            written = before.written if same else written
            status = before.kept.status
        self._records[key] = _Record(
            seen=seen,
            owner=seen.owner,
            own=spec,
            kept=Kept(seen.name, spec, status),
            file=profile.file_of(*key, spec),
            written=written,
            written_at=before.written_at if before is not None else 0.0,
        )

    def by_policy(self) -> Mapping[str, Mapping[str, Kept]]:
        """Return the profiles of each policy that has any, by its uid, then by container."""
        return {
            uid: {container: self._records[key].kept for container, key in keys.items()}
            for uid, keys in self._keys().items()
        }

    def _keys(self) -> Mapping[str, Mapping[str, Key]]:
        found: dict[str, dict[str, Key]] = {}
        for key, record in sorted(self._records.items()):
            if self._is_owned(key, record):
                found.setdefault(record.owner, {}).setdefault(record.kept.spec.container, key)
        return found

    def want(self, policy: Reference, wanted: Mapping[str, SeccompProfileSpec]) -> None:
        """Say which profiles a policy should have, by container."""
        self._orders[policy.uid] = _Order(policy, wanted)

    def judge(self, now: float) -> None:
        """Bring the statuses up to date."""
        silent = self._nodes.keys() - self._told.keys()
        newcomers = sum(now < self._nodes[node] + NEW_SECONDS for node in silent)
        others = self._told.keys() - self._nodes.keys()
        for record in self._records.values():
            kept, file = record.kept, record.file
            lying = file.path, file.sha256
            beside = sum(self._told[node].get(file.path) == file.sha256 for node in others)
            spread = Spread(
                nodes=len(self._nodes),
                ready=self._lying[lying] - beside,
                newcomers=newcomers,
                problem=self._problem(file.path),
                no_room=file.path not in self._fitting,
                lacking=record.lacking,
                no_file=not record.has_file,
            )
            generation = record.seen.generation if record.seen else kept.status.observed_generation
            status = profile.judge(
                kept.status, kept.spec, file, spread, generation=generation, now=now
            )
            if status != kept.status:
                record.kept = Kept(kept.name, kept.spec, status)

    def _problem(self, path: str) -> str:
        problems = self._problems.get(path)
        if not problems:
            return ""
        node = min(problems)
        return f"node {node}: {problems[node]}"

    # What is written.

    def look(self, now: float) -> None:
        """Begin to write what is due."""
        keys = self._keys()
        for uid, order in self._orders.items():
            for container, spec in order.wanted.items():
                key = keys.get(uid, {}).get(container)
                if key is None:
                    key = self._home(order.policy), self._name(order.policy, container)
                    self._create(key, order.policy, spec, now)
                else:
                    self._amend(key, order.policy, spec, now)
        for key, record in self._records.items():
            if record.is_write_due(now):
                self._begin(key, partial(self._write_status, record, now), now)

    def _name(self, policy: Reference, container: str) -> str:
        home = self._home(policy)
        taken = [name for namespace, name in self._records if namespace == home]
        called = policy.name if policy.namespace else f"cluster-{policy.name}"
        return profile.name_of(called, container, taken, policy.uid)

    def _create(self, key: Key, policy: Reference, spec: SeccompProfileSpec, now: float) -> None:
        self._begin(key, partial(self._post, policy, key, spec), now)

    def _amend(self, key: Key, policy: Reference, spec: SeccompProfileSpec, now: float) -> None:
        record = self._records[key]
        if record.seen is None:
            self._create(key, policy, spec, now)
        elif record.kept.spec != spec and record.can_change:
            self._begin(key, partial(self._replace, record.seen, spec), now)

    def _begin(self, key: Key, work: Callable[[], Awaitable[None]], now: float) -> None:
        if key in self._busy or now < self._retry_at.get(key, 0.0):
            return
        self._busy.add(key)
        task = asyncio.create_task(self._done(key, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, key: Key, work: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._writes:
                await work()
            self._retry_at.pop(key, None)
        except ClusterError as error:
            self._retry_at[key] = time.time() + RETRY_SECONDS
            logger.warning("SeccompProfile %s/%s waits to be written: %s", *key, error)
        finally:
            self._busy.discard(key)

    async def _post(self, policy: Reference, key: Key, spec: SeccompProfileSpec) -> None:
        body = _body(spec, exclude_none=True)
        self.see(await self._store.create_profile(policy, key, body))

    async def _replace(self, seen: Resource, spec: SeccompProfileSpec) -> None:
        body = _body(spec, exclude_none=True)
        self.see(await self._store.replace_profile(seen, body))

    async def _write_status(self, record: _Record, now: float) -> None:
        status = record.kept.status
        if record.seen is not None:
            await self._store.patch_status(record.seen, _body(status, exclude_none=False))
            record.written, record.written_at = status, now

    async def close(self) -> None:
        """Let go of what is being written."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def linux_nodes(nodes: Iterable[tuple[str, Mapping[str, str], float]]) -> dict[str, float]:
    """Return the nodes on which a profile means anything, of names, labels and times."""
    return {name: since for name, labels, since in nodes if labels.get(_OS) != _WINDOWS}


def _body(model: BaseModel, *, exclude_none: bool) -> dict[str, object]:
    return model.model_dump(by_alias=True, mode="json", exclude_none=exclude_none)


def _nobody(_: Body) -> None:
    """Show it to nobody."""
