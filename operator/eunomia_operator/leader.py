# SPDX-License-Identifier: Apache-2.0
"""What the replica that holds the Lease does."""

import asyncio
import logging
import time

from eunomia_api.message import SPARED
from eunomia_api.tracker import Catalogue
from eunomia_operator.agents.dispatch import Dispatch
from eunomia_operator.alerts.desk import Desk
from eunomia_operator.alerts.isolator import Isolator
from eunomia_operator.certificates.trust import Trust
from eunomia_operator.cluster.client import Cluster
from eunomia_operator.cluster.journal import Journal
from eunomia_operator.cluster.lists import Lists
from eunomia_operator.cluster.operator import watch
from eunomia_operator.cluster.reaction import Reaction
from eunomia_operator.control import Control
from eunomia_operator.metrics import Metrics
from eunomia_operator.objects.places import Places
from eunomia_operator.objects.shelf import Shelf
from eunomia_operator.objects.world import Body, Kind
from eunomia_operator.settings import Settings

logger = logging.getLogger("eunomia.leader")

STUCK_SECONDS = 60.0


class Leader:
    """Holds the parts together."""

    def __init__(self, settings: Settings, cluster: Cluster, metrics: Metrics) -> None:
        self._settings = settings
        self._cluster = cluster
        self._metrics = metrics
        self._journal = Journal(cluster, settings.identity)
        self._alert_journal = Journal(cluster, settings.identity)
        spared = tuple(sorted({*SPARED, settings.namespace}))
        reaction = Reaction(cluster, settings.namespace)
        self._isolator = Isolator(reaction, self._alert_journal.tell, spared)
        self._desk = Desk(reaction, self._alert_journal.tell, metrics, self._isolator)
        self._control = Control(
            Catalogue.load(),
            cluster,
            self._journal.tell,
            metrics,
            desk=self._desk,
            shelf=Shelf(cluster, settings.namespace),
            places=Places(cluster),
            spared=spared,
        )
        self._trust = Trust(cluster, settings.server_names)
        self._dispatch = Dispatch(settings, self._control, cluster.review_token, metrics)
        self._lists = Lists(cluster.list, self._control.world)
        self.listening = False
        """Whether agents can connect."""

    @property
    def stuck(self) -> bool:
        """Whether the control loop does not get on."""
        return self.listening and time.monotonic() - self._control.passed_at > STUCK_SECONDS

    async def lead(self) -> None:
        """Lead until cancelled. Raises an ExceptionGroup when a part fails."""
        self._metrics.leader.set(1)
        try:
            # Agents end what they are not told of: nothing is told before all is known.
            await self._lists.begin()
            await self._control.take_up()
            self._control.begin(time.time())
            await self._trust.start()
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._control.run(self._dispatch))
                parts.create_task(self._journal.run())
                # A flood of alerts leaves out Events of alerts alone.
                parts.create_task(self._alert_journal.run())
                parts.create_task(
                    self._isolator.run(self._control.policies, self._desk.note_response)
                )
                parts.create_task(self._trust.run())
                parts.create_task(self._lists.keep())
                parts.create_task(self._watch())
                port = await self._dispatch.open(lambda: self._trust.server)
                self.listening = True
                logger.info("leading; agents are served on port %d", port)
        finally:
            self.listening = False
            self._metrics.leader.set(0)
            await self._dispatch.close()
            await self._control.close()

    async def _watch(self) -> None:
        with_kubeconfig = self._settings.kubeconfig is not None
        await watch(self._see, self._settings.identity, with_kubeconfig=with_kubeconfig)

    def _see(self, kind: Kind, event: str | None, body: Body) -> None:
        self._control.world.see(kind, event, body)
        if event is None:
            # The watch has begun anew, and does not tell what was deleted meanwhile.
            self._lists.ask()
