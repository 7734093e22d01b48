# SPDX-License-Identifier: Apache-2.0
"""The agent-wide programs that see cgroups come and go, and the index that they feed.

They are in the kernel while there is a job, and gone with the last one.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from eunomia_agent.containers.index import Index
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Runtime
from eunomia_agent.containers.targets import Targets
from eunomia_agent.containers.watch import changes
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.map import Map
from eunomia_agent.kernel.object import Object

logger = logging.getLogger("eunomia.cgroups")


class Cgroups:
    """Opened before the first job starts, closed after the last has ended."""

    def __init__(
        self,
        objects: Path,
        runtime: Runtime | None,
        *,
        root: Path | None,
        on_change: Callable[[Owner], None],
        on_gone: Callable[[int], None],
    ) -> None:
        self._path = objects / "cgroups.bpf.o"
        self._runtime = runtime
        self._root = root
        self._on_change = on_change
        self._on_gone = on_gone
        self._object: Object | None = None
        self._drain: Drain | None = None
        self._index: Index | None = None
        self._lost = 0
        self.targets: Targets | None = None

    @property
    def is_open(self) -> bool:
        """Whether the programs are in the kernel."""
        return self._object is not None

    @property
    def problem(self) -> str | None:
        """What keeps owners from being known now, and what went unseen since the start."""
        problems = [self._index.problem() if self._index is not None else None]
        if self._drain is not None and self._drain.malformed:
            problems.append(f"{self._drain.malformed} records of cgroups could not be read")
        refused = self.targets.refused if self.targets is not None else 0
        if refused:
            problems.append(f"{refused} cgroups were made faster than they could be told apart")
        return "; ".join(filter(None, problems)) or None

    @property
    def map(self) -> Map:
        """The map of watched cgroups, for trackers to share. Only while open."""
        assert self._object is not None
        return self._object.map("targets")

    async def load(self) -> Targets:
        """Load and attach the programs. Raises KernelError."""
        loaded = await asyncio.to_thread(self._load)
        try:
            targets = Targets(
                *(loaded.map(name) for name in ("targets", "pending_limit", "pending_count"))
            )
            layout = event_layout(loaded.btf, "cgroup_events")
            self._drain = Drain(loaded.map("cgroup_events"), layout, delay=0.0)
        except BaseException:
            loaded.close()
            raise
        self._object, self._lost, self.targets = loaded, 0, targets
        return targets

    async def start(self) -> None:
        """Learn what cgroups there are, and follow them. Raises AgentError."""
        assert self._drain is not None
        assert self.targets is not None
        self._index = Index(
            self._runtime,
            root=self._root,
            on_change=self._on_change,
            on_gone=self._on_gone,
            watched=self.targets.ids,
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
        if self._object is not None:
            self._object.close()
        self._object = self._drain = self._index = self.targets = None

    def _load(self) -> Object:
        loaded = Object.open(self._path)
        try:
            loaded.load()
            loaded.attach()
        except BaseException:
            loaded.close()
            raise
        return loaded

    def _read(self) -> None:
        if self._drain is None or self._index is None or self.targets is None:
            return
        self._drain.woken()
        while True:
            self._index.feed(changes(self._drain.drain()))
            if not self._drain.more:
                break
        lost = self.targets.lost
        if lost > self._lost:
            logger.warning("%d records of cgroups were lost: scanning them anew", lost - self._lost)
            self._lost = lost
            self._index.rescan_soon()
