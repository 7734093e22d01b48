# SPDX-License-Identifier: Apache-2.0
"""Keeps the authority in its Secret, its certificates with agents and API server, and a server's.

The webhook's configuration holds the certificates that the API server trusts. Whoever leads keeps
it; each replica makes its own certificate (admission/replica.py).
"""

import asyncio
import logging
import time
from typing import Protocol

from eunomia_operator.certificates import ca
from eunomia_operator.errors import AuthorityInvalid, ClusterError

logger = logging.getLogger("eunomia.trust")

LOOK_SECONDS = 600.0
WEBHOOK_SECONDS = 60.0
"""Who applies the manifests again takes the certificates out of the webhook's configuration."""
RETRY_SECONDS = 5.0


class AuthorityStore(Protocol):
    """Where the authority is kept."""

    async def read_authority(self) -> tuple[dict[str, bytes], str]:
        """Return the data of the Secret, and its version."""
        ...

    async def patch_authority(self, data: dict[str, bytes | None], version: str) -> None:
        """Write the Secret, if it is still of that version."""
        ...

    async def read_bundle(self) -> str:
        """Return what agents trust."""
        ...

    async def patch_bundle(self, bundle: str) -> None:
        """Write what agents trust."""
        ...

    async def read_webhook_bundle(self) -> str:
        """Return what the API server trusts when it dials the webhook."""
        ...

    async def patch_webhook_bundle(self, bundle: str) -> None:
        """Write what the API server trusts when it dials the webhook."""
        ...


class Trust:
    """The certificates of one operator while it leads."""

    def __init__(self, store: AuthorityStore, names: tuple[str, ...]) -> None:
        self._store = store
        self._names = names
        self._signer: ca.Pair | None = None
        self._bundle = ""
        """What is to be trusted, as of the last `look`."""
        self.server: ca.Pair | None = None
        """The certificate to serve with, and its key; None before the first `look`."""

    async def run(self) -> None:
        """Look now and then, until cancelled; at the webhook's configuration more often."""
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(WEBHOOK_SECONDS)
            if time.monotonic() - looked_at < LOOK_SECONDS:
                await self._look_at_webhook(self._bundle)
                continue
            looked_at = time.monotonic()
            try:
                await self.look()
            except ClusterError as error:
                logger.warning("certificates were not looked after: %s", error)

    async def start(self) -> None:
        """Look until it works."""
        while True:
            try:
                return await self.look()
            except ClusterError as error:
                logger.warning("no certificate to serve with yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def look(self) -> None:
        """Take the next step of the rotation, if one is due. Raises ClusterError."""
        now = ca.now()
        data, version = await self._store.read_authority()
        before = _read(data)
        bundle = await self._store.read_bundle()
        distributed = before is not None and before.bundle(now) == bundle
        authorities = ca.rotate(before, now, distributed=distributed)
        if authorities != before:
            await self._store.patch_authority(authorities.to_secret(), version)
            logger.info("the certificate authority was renewed")
        if authorities.bundle(now) != bundle:
            await self._store.patch_bundle(authorities.bundle(now))
        self._bundle = authorities.bundle(now)
        await self._look_at_webhook(self._bundle)
        signed_by_another = self._signer != authorities.present
        if self.server is None or signed_by_another or ca.is_due(self.server, now):
            self.server = ca.issue(authorities.present, self._names, now)
            self._signer = authorities.present

    async def _look_at_webhook(self, bundle: str) -> None:
        """Without it pods start without their profile; nothing else waits for it."""
        try:
            if await self._store.read_webhook_bundle() != bundle:
                await self._store.patch_webhook_bundle(bundle)
        except ClusterError as error:
            logger.warning("the API server cannot call the webhook: %s", error)


def _read(data: dict[str, bytes]) -> ca.Authorities | None:
    try:
        return ca.from_secret(data)
    except AuthorityInvalid as error:
        logger.error("the Secret's certificate authority is replaced, it is broken: %s", error)
        return None
