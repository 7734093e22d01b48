# SPDX-License-Identifier: Apache-2.0
"""The agent-wide programs that see cgroups come and go, and the index that they feed.

They are in the kernel while there is a job, and gone with the last one.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from eunomia_agent.containers import hierarchy
from eunomia_agent.containers.hierarchy import Hierarchy
from eunomia_agent.containers.index import RESCAN, Index
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.recent import Recent
from eunomia_agent.containers.runtime import Runtime
from eunomia_agent.containers.targets import Targets
from eunomia_agent.containers.watch import changes
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.chain import Chain
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.loading import REFUSED, Node

logger = logging.getLogger("eunomia.cgroups")

POLL = 1.0
"""Seconds between two scans where the kernel does not tell of new cgroups."""
AT_ONCE = 1 << 16
PAUSE = 0.05
"""Bytes of records that are taken in at once, and seconds of rest where there are more: some 10,000
cgroups a second. Who makes more, to keep the agent from its work, fills the ring, no more.
"""


class Cgroups:
    """Opened before the first job starts, closed after the last has ended.

    root: where the hierarchy is mounted; None: look in /proc/self/mountinfo. Changes of owners are
    told as by an Index. memory: seconds for which `problem` tells of what is over.
    """

    def __init__(
        self,
        objects: Path,
        runtime: Runtime | None,
        *,
        root: Path | None,
        on_change: Callable[[Owner], None],
        on_gone: Callable[[int], None],
        memory: float = 60.0,
    ) -> None:
        self._path = objects / "cgroups.bpf.o"
        self._runtime = runtime
        self._root = root
        self._on_change = on_change
        self._on_gone = on_gone
        self._memory = memory
        self._hierarchy = Hierarchy(root)
        self._object: Object | None = None
        self._chain = Chain(objects / "calls.bpf.o")
        self._missing = ""
        self._drain: Drain | None = None
        self._index: Index | None = None
        self._refused = Recent()
        self._lost = Recent()
        self.targets: Targets | None = None

    @property
    def is_open(self) -> bool:
        """Whether the programs are in the kernel."""
        return self._object is not None

    @property
    def refused(self) -> int:
        """Cgroups that were made faster than they could be told apart, while open."""
        return self.targets.refused if self.targets is not None else 0

    @property
    def problem(self) -> str | None:
        """What keeps owners from being known now, and what went unseen lately."""
        problems = [self._index.problem() if self._index is not None else None, self._missing]
        if self._drain is not None and self._drain.malformed:
            problems.append(f"{self._drain.malformed} records of cgroups could not be read")
        refused = self._refused_lately()
        if refused:
            problems.append(f"{refused} cgroups were made faster than they could be told apart")
        return "; ".join(filter(None, problems)) or None

    @property
    def node(self) -> Node:
        """What trackers share. Only while open."""
        assert self._object is not None
        return Node(
            targets=self._object.map("targets"),
            hierarchy=self._hierarchy.number,
            root=self._hierarchy.root,
            chain=self._chain,
            runtimes=self._object.map("runtimes"),
            refused=self._object.map(REFUSED),
        )

    async def load(self) -> Targets:
        """Load and attach the programs. Raises KernelError."""
        loaded = await asyncio.to_thread(self._load)
        try:
            targets = Targets(
                *(loaded.map(name) for name in ("targets", "pending_limit", "pending_count"))
            )
            layout = event_layout(loaded.btf, "cgroup_events")
            self._drain = Drain(loaded.map("cgroup_events"), layout, delay=0.0, batch_bytes=AT_ONCE)
        except BaseException:
            loaded.close()
            raise
        self._object, self.targets = loaded, targets
        self._refused, self._lost = Recent(self._memory), Recent(self._memory)
        return targets

    async def start(self) -> None:
        """Learn what cgroups there are, and follow them."""
        assert self._drain is not None
        assert self.targets is not None
        self._index = Index(
            self._runtime,
            root=self._hierarchy.root,
            on_change=self._on_change,
            on_gone=self._on_gone,
            watched=self.targets.ids,
            rescan=POLL if self._missing else RESCAN,
        )
        asyncio.get_running_loop().add_reader(self._drain.fileno(), self._read)
        await self._index.start()

    async def close(self) -> None:
        """Take the programs out of the kernel and forget all owners."""
        if self._index is not None:
            await self._index.close()
        if self._drain is not None:
            asyncio.get_running_loop().remove_reader(self._drain.fileno())
            self._drain.close()
        self._chain.close()
        if self._object is not None:
            self._object.close()
        self._object = self._drain = self._index = self.targets = None

    def _load(self) -> Object:
        self._hierarchy = hierarchy.here(self._root)
        try:
            self._missing = ""
            return self._attached()
        except KernelError:
            missing = self._missing_hooks()  # which takes 20 ms to find out
            if not missing:
                raise
        self._missing = _told(missing)
        return self._attached()

    def _attached(self) -> Object:
        loaded = Object.open(self._path)
        try:
            if self._missing:
                loaded.skip_missing()
            loaded.set("cgroup_hierarchy", self._hierarchy.number)
            loaded.load()
            loaded.attach()
            loaded.run_iterators()
        except BaseException:
            loaded.close()
            raise
        return loaded

    def _missing_hooks(self) -> dict[str, str]:
        with Object.open(self._path) as opened:
            return opened.skip_missing()

    def _read(self) -> None:
        if self._drain is None or self._index is None or self.targets is None:
            return
        self._drain.woken()
        self._index.feed(changes(self._drain.drain()))
        self._refused_lately()
        self._rescan_for_lost(self.targets.lost)
        if self._drain.more:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._drain.fileno())
            loop.call_later(PAUSE, self._read_on)

    def _read_on(self) -> None:
        if self._drain is not None:
            asyncio.get_running_loop().add_reader(self._drain.fileno(), self._read)
            self._read()

    def _rescan_for_lost(self, lost: int) -> None:
        before, now = self._lost.total, time.monotonic()
        quiet = not self._lost.note(before, now)
        self._lost.note(lost, now)
        if lost > before and self._index is not None:
            self._index.rescan_soon()
            if quiet:
                logger.warning("records of cgroups were lost: scanning for what they told of")

    def _refused_lately(self) -> int:
        """Return how many cgroups were refused of late; log it when that begins."""
        now = time.monotonic()
        quiet = not self._refused.note(self._refused.total, now)
        refused = self._refused.note(self.refused, now)
        if refused and quiet:
            logger.warning(
                "cgroups are made faster than they can be told apart: %d so far; what they do "
                "before their owner is known is counted as unclassified",
                self._refused.total,
            )
        return refused


def _told(missing: dict[str, str]) -> str:
    if not missing:
        return ""
    logger.warning("this kernel does not tell of cgroups: %s", "; ".join(missing.values()))
    return (
        f"this kernel lacks {', '.join(missing)}: a new container is seen up to {POLL:.0f} s late"
    )
