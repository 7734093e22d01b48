# SPDX-License-Identifier: Apache-2.0
"""What a replica answers the webhook with: a certificate of its own, and the profiles to bind."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from eunomia_api.selector import LabelSelector
from eunomia_operator.admission import webhook
from eunomia_operator.admission.binding import Binding, binding_of
from eunomia_operator.certificates import ca
from eunomia_operator.errors import AuthorityInvalid, ClusterError
from eunomia_operator.settings import Settings

logger = logging.getLogger("eunomia.admission")

LOOK_SECONDS = 600.0
RETRY_SECONDS = 5.0
LIST_SECONDS = 2.0
"""A profile is bound so long after it became Ready, at most."""


_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Store(Protocol):
    """Where certificate and profiles come from."""

    async def read_authority(self) -> tuple[dict[str, bytes], str]:
        """Return the data of the CA's Secret, and its version."""
        ...

    async def list_profiles(self) -> Sequence[Mapping[str, Any]]:
        """Return the metadata of all SeccompProfiles, perhaps as of a moment ago."""
        ...

    async def read_profile(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Return one SeccompProfile."""
        ...

    async def read_namespace(self, name: str) -> Mapping[str, Any]:
        """Return one Namespace."""
        ...


class _Read(NamedTuple):
    """What one object says."""

    version: str
    """Its resourceVersion."""
    binding: Binding | None


class _Labels(NamedTuple):
    """Labels of one namespace."""

    read_at: float
    """On the monotonic clock."""
    labels: dict[str, str]


class Admission:
    """The webhook of one replica, whether it leads or not."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Prepare, without a certificate and with nothing to bind."""
        self._store = store
        self._namespace = settings.namespace
        self._names = settings.webhook_names
        self._address = settings.webhook_address
        self._life = settings.webhook_certificate_life
        self._context = webhook.server_context()
        self._signer: ca.Pair | None = None
        self.certificate: ca.Pair | None = None
        """What is served with."""
        self._read: dict[tuple[str, str], _Read] = {}
        self.bindings: Sequence[Binding] = ()
        """What is bound."""
        self._labels: dict[str, _Labels] = {}
        self._reading: dict[str, asyncio.Task[dict[str, str]]] = {}

    async def run(self) -> None:
        """Serve until cancelled. What is not to be had is tried again: nobody waits for it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_certificate())
            tasks.create_task(self._keep_bindings())
            async with webhook.serve(self._address, self._context, self.reaching) as port:
                logger.info("seccomp profiles are bound on port %d", port)
                await asyncio.Event().wait()

    async def _keep_certificate(self) -> None:
        while True:
            try:
                await self.look_at_certificate()
                await asyncio.sleep(min(LOOK_SECONDS, self._life.total_seconds() / 4))
            except (ClusterError, AuthorityInvalid) as error:
                logger.info("no certificate for the webhook yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def look_at_certificate(self) -> None:
        """Serve with a fresh certificate, if one is due.

        Raises ClusterError, or AuthorityInvalid where the leader has made no authority yet.
        """
        data, _ = await self._store.read_authority()
        authorities = ca.from_secret(data)
        if authorities is None:
            raise AuthorityInvalid("the leader has made no authority yet")
        now, present = ca.now(), authorities.present
        if self.certificate is None or self._signer != present or ca.is_due(self.certificate, now):
            self.certificate = ca.issue(present, self._names, now, self._life)
            self._signer = present
            webhook.use(self._context, self.certificate)

    async def _keep_bindings(self) -> None:
        while True:
            try:
                await self.look_at_profiles()
            except ClusterError as error:
                logger.warning("profiles are bound as they were last seen: %s", error)
            await asyncio.sleep(LIST_SECONDS)

    async def look_at_profiles(self) -> None:
        """Bind what there is now. Raises ClusterError.

        Profiles are large, and this runs beside the Lease: what did not change is not read again.
        """
        seen: set[tuple[str, str]] = set()
        for each in await self._store.list_profiles():
            metadata = each["metadata"]
            key = metadata["namespace"], metadata["name"]
            before = self._read.get(key)
            if before is None or before.version != metadata["resourceVersion"]:
                try:
                    body = await self._store.read_profile(*key)
                except ClusterError as error:
                    if not error.gone:
                        raise
                    continue
                version = body["metadata"]["resourceVersion"]
                self._read[key] = _Read(version, binding_of(body, self._namespace))
            seen.add(key)
        self._read = {key: read for key, read in self._read.items() if key in seen}
        self.bindings = [read.binding for read in self._read.values() if read.binding is not None]

    async def reaching(self, namespace: str) -> Sequence[Binding]:
        """Return the bindings that reach a namespace, for a new pod there.

        Its labels are asked for where they matter: a pod may come right behind its namespace.
        Without an answer its own profiles are left, and those of all namespaces.
        """
        known, labels = self.bindings, dict[str, str]()
        if any(_goes_by_labels(each) for each in known):
            try:
                labels = await self._labels_of(namespace)
            except ClusterError as error:
                logger.warning("profiles for namespaces by their labels are not bound: %s", error)
                known = [each for each in known if not _goes_by_labels(each)]
        return [each for each in known if each.reaches(namespace, labels)]

    async def _labels_of(self, namespace: str) -> dict[str, str]:
        now = time.monotonic()
        self._labels = {
            name: each for name, each in self._labels.items() if now - each.read_at < LIST_SECONDS
        }
        if namespace in self._labels:
            return self._labels[namespace].labels
        if not _NAMESPACE.fullmatch(namespace):  # whoever asks need not be an API server
            raise ClusterError("GET", f"{namespace[:80]!r} is no name of a namespace")
        if namespace not in self._reading:
            task = asyncio.create_task(self._read_labels(namespace))
            self._reading[namespace] = task
            task.add_done_callback(lambda _: self._reading.pop(namespace))
        # Others wait for the same answer: it comes although who asked first waits no more.
        return await asyncio.shield(self._reading[namespace])

    async def _read_labels(self, namespace: str) -> dict[str, str]:
        began = time.monotonic()
        body = await self._store.read_namespace(namespace)
        labels: dict[str, str] = body["metadata"].get("labels") or {}
        self._labels[namespace] = _Labels(began, labels)
        return labels


def _goes_by_labels(binding: Binding) -> bool:
    return binding.namespaces is not None and binding.namespaces != LabelSelector()
