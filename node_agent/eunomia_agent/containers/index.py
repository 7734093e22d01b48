# SPDX-License-Identifier: Apache-2.0
"""The index of cgroups: who the events of each belong to, from its mkdir to after its end."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

from eunomia_agent.containers.cgroup import CgroupPath, parse
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.resolver import Resolver
from eunomia_agent.containers.runtime import Identity, Runtime, Sandbox
from eunomia_agent.containers.watch import CgroupGone, CgroupMade, Change, scan
from eunomia_agent.errors import AgentError, RuntimeUnavailable

logger = logging.getLogger("eunomia.containers")

RESCAN = 60.0
"""Seconds between scans that find what the records missed."""
REST = 10
"""How much longer than a scan the rest after it is, at least, however many records are lost."""
ROOT_ID = 1
"""Of the root of every hierarchy: kernfs_create_root() of fs/kernfs/dir.c gives it the first id."""


@dataclass(slots=True)
class _Cgroup:
    path: CgroupPath
    owner: Owner
    identity: Identity | None = None
    gone: bool = False


class Index:
    """Cgroup id → Owner, kept by the kernel's records of cgroups and by scans.

    runtime: whom to ask about containers; None on a host without one, where containers are
    "unknown". root: where the hierarchy is mounted; None where it is not, and only cgroups made
    from now on are seen. on_change is told of each owner when it is
    first seen and whenever it changes, on_gone of each id `linger` seconds after its removal and
    once its owner is final. Both are called on the loop, and may call back into the index.
    patience: seconds after which a container that the runtime does not know is "unknown".
    max_cgroups: how many are held; what comes above is "unknown", and `problem` says so.
    watched: returns the ids of which the kernel keeps entries. One that a scan does not find is
    told to on_gone even if nothing was ever heard of it. May raise AgentError. rescan: seconds
    between scans.
    """

    def __init__(
        self,
        runtime: Runtime | None,
        *,
        on_change: Callable[[Owner], None],
        on_gone: Callable[[int], None],
        root: Path | None,
        linger: float = 5.0,
        patience: float = 10.0,
        max_cgroups: int = 65536,
        watched: Callable[[], Iterable[int]] = tuple,
        rescan: float = RESCAN,
    ) -> None:
        self._runtime = runtime
        self._resolver = Resolver(runtime, self._answered, patience=patience) if runtime else None
        self._on_change = on_change
        self._on_gone = on_gone
        self._root = root
        self._linger = linger
        self._max_cgroups = max_cgroups
        self._watched = watched
        self._rescan = rescan
        self._turned_away = 0
        self._cgroups = dict[int, _Cgroup]()
        self._known = WeakValueDictionary[str, Identity]()
        self._sandboxes = WeakValueDictionary[str, Sandbox]()
        """By pod uid. Cgroups hold what these two tables point to."""
        self._pods = dict[str, set[int]]()
        """By pod uid, the cgroups that are in the pod but in no container."""
        self._enclosing = set[str]()
        """Containers that the whole runtime runs in, as a node of kind does: its host."""
        self._scan_due = asyncio.Event()
        self._scanner: asyncio.Task[None] | None = None
        self._scan_problem: str | None = None
        self._closed = False

    async def start(self) -> None:
        """Learn what there is. Begin after the kernel's programs are attached, so that nothing
        falls between. Where the tree cannot be read, `problem` says so.
        """
        if self._resolver:
            self._resolver.start()
        if self._root is None:
            self._scan_problem = (
                "no hierarchy of cgroups is mounted here, so those made before now are not known: "
                "mount one (mount -t cgroup2 none /sys/fs/cgroup)"
            )
            self._made(ROOT_ID, "/")
            return
        listed = await self._listed()
        await self._try_to_scan(self._root)
        del listed
        self._scanner = asyncio.create_task(self._scan_again_and_again(self._root))

    async def close(self) -> None:
        """Stop: nobody is called back any more."""
        self._closed = True
        if self._scanner:
            self._scanner.cancel()
            with suppress(asyncio.CancelledError):
                await self._scanner
        if self._resolver:
            await self._resolver.close()

    def feed(self, changes: Iterable[Change | None]) -> None:
        """Take in what the kernel's records say, in their order. On the loop's thread."""
        for change in changes:
            match change:
                case CgroupMade(cgroup_id, path):
                    self._made(cgroup_id, path)
                case CgroupGone(cgroup_id):
                    self._gone(cgroup_id)
                case None:
                    self.rescan_soon()

    def rescan_soon(self) -> None:
        """Scan again, since records were lost."""
        self._scan_due.set()

    def problem(self) -> str | None:
        """Return what keeps owners from being known, or None."""
        problems = [self._resolver.problem if self._resolver else None, self._scan_problem]
        if self._turned_away and len(self._cgroups) >= self._max_cgroups:
            problems.append(
                f"more than {self._max_cgroups} cgroups: the owners of others are not known"
            )
        return "; ".join(filter(None, problems)) or None

    async def _listed(self) -> list[Identity]:
        """Ask for all at once rather than for each. Who holds the answer keeps it known."""
        if not self._runtime:
            return []
        try:
            listed = await self._runtime.identities()
        except Exception as error:  # whatever one of them brings
            if not isinstance(error, RuntimeUnavailable):
                logger.exception("the container runtime's lists were not understood")
            return []  # each is asked for on its own, then, with patience
        for identity in listed:
            self._known[identity.id] = identity
        return listed

    async def _scan_again_and_again(self, root: Path) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    self._rescan
                ):  # wait_for of 3.11 may swallow a cancellation
                    await self._scan_due.wait()
            self._scan_due.clear()
            began = time.monotonic()
            if await self._try_to_scan(root):
                self._ask_about_unknown()
            await asyncio.sleep(min(self._rescan, REST * (time.monotonic() - began)))

    async def _try_to_scan(self, root: Path) -> bool:
        try:
            await self._scan(root)
        except (OSError, AgentError) as error:
            self._scan_problem = f"the tree of cgroups cannot be read: {error}"
            return False
        return True

    async def _scan(self, root: Path) -> None:
        before = {cgroup_id for cgroup_id, cgroup in self._cgroups.items() if not cgroup.gone}
        before.update(self._watched())
        seen = await asyncio.to_thread(scan, root, self._max_cgroups)
        self._scan_problem = f"cgroups are missing: {seen.unseen}" if seen.unseen else None
        if not seen.unseen:
            for cgroup_id in before.difference(made.cgroup_id for made in seen.found):
                self._gone(cgroup_id)
        for made in seen.found:
            self._made(made.cgroup_id, made.path)

    def _ask_about_unknown(self) -> None:
        for cgroup_id, cgroup in self._cgroups.items():
            if self._resolver and cgroup.owner.kind == "unknown" and not cgroup.gone:
                self._resolver.ask(cgroup_id, _container_ids(cgroup.path), once=True)

    def _made(self, cgroup_id: int, path: str) -> None:
        if cgroup_id in self._cgroups:
            return
        if len(self._cgroups) >= self._max_cgroups:
            self._turned_away += 1
            self._on_change(replace(_unknown(cgroup_id, "too many cgroups"), path=path))
            return
        parsed = parse(path)
        cgroup = _Cgroup(parsed, Owner(cgroup_id, "pending", reason="not placed yet", path=path))
        self._cgroups[cgroup_id] = cgroup
        inside = [each for each in parsed.containers if each.container_id not in self._enclosing]
        if not inside:
            self._settle(cgroup, self._outside(cgroup_id, parsed))
        elif known := self._known.get(inside[0].container_id):
            self._identified(cgroup, known)
        elif self._resolver:
            waiting = Owner(
                cgroup_id,
                "pending",
                pod_uid=inside[-1].pod_uid,
                container_id=inside[-1].container_id,
                reason="the container runtime has not told of it yet",
            )
            self._settle(cgroup, waiting)
            self._resolver.ask(cgroup_id, [each.container_id for each in inside])
        else:
            self._settle(
                cgroup,
                _unknown(
                    cgroup_id, "there is no container runtime to ask", inside[-1].container_id
                ),
            )

    def _gone(self, cgroup_id: int) -> None:
        cgroup = self._cgroups.get(cgroup_id)
        if cgroup is None:
            self._on_gone(cgroup_id)
        elif not cgroup.gone:
            cgroup.gone = True
            if cgroup.owner.kind != "pending":
                self._forget_later(cgroup_id)

    def _forget_later(self, cgroup_id: int) -> None:
        asyncio.get_running_loop().call_later(self._linger, self._forget, cgroup_id)

    def _forget(self, cgroup_id: int) -> None:
        if not self._closed:
            self._leave_pod(self._cgroups.pop(cgroup_id).owner)
            self._on_gone(cgroup_id)

    def _answered(self, cgroup_id: int, identity: Identity | None, reason: str) -> None:
        cgroup = self._cgroups.get(cgroup_id)
        if cgroup is None:
            return
        if identity:
            self._enclose(cgroup.path, identity.id)
            self._identified(cgroup, identity)
        else:
            self._settle(cgroup, self._outside(cgroup_id, cgroup.path, reason))

    def _enclose(self, path: CgroupPath, container_id: str) -> None:
        """Learn that a container which the runtime does not know has one that it does know."""
        around = _container_ids(path)
        around = around[: around.index(container_id)]
        if self._enclosing.issuperset(around):
            return
        self._enclosing.update(around)
        for cgroup_id, cgroup in list(self._cgroups.items()):
            if cgroup.owner.kind == "unknown":
                self._settle(cgroup, self._outside(cgroup_id, cgroup.path, cgroup.owner.reason))

    def _identified(self, cgroup: _Cgroup, identity: Identity) -> None:
        cgroup.identity = identity
        self._known[identity.id] = identity
        self._settle(cgroup, identity.owner(cgroup.owner.cgroup_id))
        sandbox = identity.sandbox
        if sandbox.pod_uid and self._sandboxes.get(sandbox.pod_uid) is not sandbox:
            self._sandboxes[sandbox.pod_uid] = sandbox
            for cgroup_id in list(self._pods.get(sandbox.pod_uid, ())):
                other = self._cgroups[cgroup_id]
                self._settle(other, self._outside(cgroup_id, other.path))

    def _outside(self, cgroup_id: int, path: CgroupPath, reason: str = "") -> Owner:
        """Return the owner of a cgroup that is in no container that the runtime knows."""
        container_ids = _container_ids(path)
        if not self._enclosing.issuperset(container_ids):
            return _unknown(cgroup_id, reason, container_ids[-1])
        if not path.pod_uid:
            return Owner(cgroup_id, "host")
        sandbox = self._sandboxes.get(path.pod_uid)
        if sandbox is None:
            return Owner(cgroup_id, "pod", pod_uid=path.pod_uid)
        self._cgroups[cgroup_id].identity = sandbox
        return sandbox.pod_owner(cgroup_id)

    def _settle(self, cgroup: _Cgroup, owner: Owner) -> None:
        owner = replace(owner, path=cgroup.owner.path)
        if owner == cgroup.owner:
            return
        was_pending = cgroup.owner.kind == "pending"
        self._leave_pod(cgroup.owner)
        cgroup.owner = owner
        if owner.kind == "pod":
            self._pods.setdefault(owner.pod_uid, set()).add(owner.cgroup_id)
        self._on_change(owner)
        if cgroup.gone and was_pending and owner.kind != "pending":
            self._forget_later(owner.cgroup_id)

    def _leave_pod(self, owner: Owner) -> None:
        cgroups = self._pods.get(owner.pod_uid)
        if cgroups:
            cgroups.discard(owner.cgroup_id)
            if not cgroups:
                del self._pods[owner.pod_uid]


def _container_ids(path: CgroupPath) -> list[str]:
    return [container.container_id for container in path.containers]


def _unknown(cgroup_id: int, reason: str, container_id: str = "") -> Owner:
    return Owner(cgroup_id, "unknown", container_id=container_id, reason=reason)
