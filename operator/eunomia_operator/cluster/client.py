# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API, as far as the operator needs it: the one importer of `kubernetes`.

Every call has a time limit, and fails with ClusterError alone.
"""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from eunomia_api import GROUP, VERSION
from eunomia_operator.alerts.isolation import owner
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import KINDS, Body, Key, Kind, Reference, Resource
from eunomia_operator.settings import AUTHORITY, NAME, WEBHOOK, Settings

logger = logging.getLogger("eunomia.cluster")

CALL_SECONDS = 10.0
PAGE = 500
LONGEST_REASON = 500
CORE = "/api/v1"
OURS = f"/apis/{GROUP}/{VERSION}"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
BINDS_PROFILES = "seccomp.eunomia.dev"
"""The webhook in its configuration, which may have others beside it."""
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PLURALS = {name: kind for kind, name in KINDS.items()}

# https://github.com/kubernetes/client-go/blob/master/tools/leaderelection: the same three figures.
LEASE_SECONDS = 15
RENEW_SECONDS = 10
RETRY_SECONDS = 2
LEASE_CALL_SECONDS = 2.5
NAMESPACE_CALL_SECONDS = 0.5
"""A new pod waits for it: a quarter of what the whole review may take."""


class Cluster:
    """A client of the API server. Objects go in and out as plain JSON."""

    def __init__(self, settings: Settings, api: client.ApiClient) -> None:
        self._settings = settings
        self._api = api
        self.answered_at = 0.0
        """When the API server last answered, on the monotonic clock."""

    async def list(self, kind: Kind) -> list[Body]:
        """Return all objects of a kind; of nodes and namespaces, the metadata only."""
        found: list[Body] = []
        query = {"limit": str(PAGE)}
        ours = kind in KINDS
        while True:
            page = await self.call(
                "GET",
                f"{OURS if ours else CORE}/{kind}",
                query=query,
                accept="application/json" if ours else METADATA_ONLY,
            )
            found.extend(page.get("items") or [])
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return found

    async def patch_status(self, resource: Resource, status: Mapping[str, object]) -> None:
        """Merge into the status of a job or policy, if it is still the same object."""
        body = {"metadata": {"uid": resource.uid}, "status": status}
        await self.call("PATCH", f"{_path(resource)}/status", body=body)

    async def delete_job(self, job: Resource) -> None:
        """Delete a job, if it is still the same object."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": job.uid},
            "propagationPolicy": "Background",
        }
        await self.call("DELETE", _path(job), body=options)

    async def review_token(self, token: str) -> dict[str, Any]:
        """Return the `status` of a TokenReview for our audience."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._settings.audience]},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        return dict((await self.call("POST", path, body=review)).get("status") or {})

    async def create_event(self, namespace: str, event: Mapping[str, object]) -> None:
        """Create a core/v1 Event, which `kubectl describe` shows."""
        await self.call("POST", f"{CORE}/namespaces/{namespace}/events", body=event)

    async def patch_event(self, namespace: str, name: str, changes: Mapping[str, object]) -> None:
        """Change an Event that was written before."""
        path = f"{CORE}/namespaces/{namespace}/events/{name}"
        await self.call("PATCH", path, body=changes)

    async def read_authority(self) -> tuple[dict[str, bytes], str]:
        """Return the data of the CA's Secret, and its resourceVersion."""
        secret = await self.call("GET", self._own("secrets"))
        data = {name: base64.b64decode(text) for name, text in (secret.get("data") or {}).items()}
        return data, secret["metadata"]["resourceVersion"]

    async def patch_authority(self, data: Mapping[str, bytes | None], version: str) -> None:
        """Write the CA's Secret, if nobody did so since; None removes a field."""
        fields = {
            name: None if value is None else base64.b64encode(value).decode()
            for name, value in data.items()
        }
        body = {"metadata": {"resourceVersion": version}, "data": fields}
        await self.call("PATCH", self._own("secrets"), body=body)

    async def read_bundle(self) -> str:
        """Return the certificates that agents trust."""
        found = await self.call("GET", self._own("configmaps"))
        return str((found.get("data") or {}).get("ca.crt", ""))

    async def patch_bundle(self, bundle: str) -> None:
        """Write the certificates that agents trust."""
        await self.call("PATCH", self._own("configmaps"), body={"data": {"ca.crt": bundle}})

    async def read_webhook_bundle(self) -> str:
        """Return the certificates that the API server trusts when it dials the webhook.

        Raises ClusterError also where the configuration has no such webhook.
        """
        path = f"{WEBHOOKS}/{WEBHOOK}"
        found = await self.call("GET", path)
        for each in found.get("webhooks") or ():
            if each.get("name") == BINDS_PROFILES:
                encoded = (each.get("clientConfig") or {}).get("caBundle") or ""
                try:
                    return base64.b64decode(encoded).decode("ascii", "replace")
                except ValueError:
                    return ""
        raise ClusterError(f"GET {path}", f"it has no webhook {BINDS_PROFILES}")

    async def patch_webhook_bundle(self, bundle: str) -> None:
        """Write the certificates that the API server trusts when it dials the webhook."""
        encoded = base64.b64encode(bundle.encode()).decode()
        webhook = {"name": BINDS_PROFILES, "clientConfig": {"caBundle": encoded}}
        await self.call(
            "PATCH", f"{WEBHOOKS}/{WEBHOOK}", body={"webhooks": [webhook]}, media=STRATEGIC
        )

    async def create_profile(self, policy: Reference, key: Key, spec: Mapping[str, object]) -> Body:
        """Create a SeccompProfile that goes with its policy; return it."""
        namespace, name = key
        body = {
            "apiVersion": policy.api_version,
            "kind": KINDS[Kind.SECCOMP_PROFILES],
            "metadata": {"name": name, "ownerReferences": [owner(policy)]},
            "spec": spec,
        }
        path = f"{OURS}/namespaces/{namespace}/{Kind.SECCOMP_PROFILES}"
        return await self.call("POST", path, body=body)

    async def replace_profile(self, seen: Resource, spec: Mapping[str, object]) -> Body:
        """Replace the spec of a SeccompProfile, if it is still the same object; return it.

        The API server refuses it as a whole (422) where the uid is another.
        """
        body: list[Mapping[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": seen.uid},
            {"op": "replace", "path": "/spec", "value": spec},
        ]
        return await self.call("PATCH", _path(seen), body=body, media=JSON_PATCH)

    async def list_profiles(self) -> Sequence[Body]:
        """Return the metadata of all SeccompProfiles, as the API server has it in its memory."""
        query = {"resourceVersion": "0"}
        path = f"{OURS}/{Kind.SECCOMP_PROFILES}"
        page = await self.call("GET", path, query=query, accept=METADATA_ONLY)
        return page.get("items") or []

    async def read_profile(self, namespace: str, name: str) -> Body:
        """Return one SeccompProfile."""
        path = f"{OURS}/namespaces/{namespace}/{Kind.SECCOMP_PROFILES}/{name}"
        return await self.call("GET", path)

    async def read_pod(self, namespace: str, name: str, /) -> Body:
        """Return one pod."""
        return await self.call("GET", f"{CORE}/namespaces/{namespace}/pods/{name}")

    async def read_namespace(self, name: str) -> Body:
        """Return one Namespace."""
        return await self.call("GET", f"{CORE}/namespaces/{name}", seconds=NAMESPACE_CALL_SECONDS)

    async def read_lease(self) -> dict[str, Any]:
        """Return the Lease that decides who leads."""
        return await self.call("GET", f"{self._leases}/{NAME}", seconds=LEASE_CALL_SECONDS)

    async def write_lease(self, method: str, lease: Mapping[str, object]) -> None:
        """Make the Lease (POST), or put it in the place of the one that was read (PUT)."""
        path = self._leases if method == "POST" else f"{self._leases}/{NAME}"
        await self.call(method, path, body=lease, seconds=LEASE_CALL_SECONDS)

    async def release_lease(self) -> None:
        """Give the Lease back, so that another one need not wait for it to run out."""
        lease = await self.read_lease()
        if (lease.get("spec") or {}).get("holderIdentity") == self._settings.identity:
            lease["spec"]["holderIdentity"] = ""
            await self.write_lease("PUT", lease)

    def election(self) -> "Election":
        """Return this replica's part in the election of a leader."""
        return Election(_Lock(self, self._settings))

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._settings.namespace}/leases"

    def _own(self, plural: str) -> str:
        return f"{CORE}/namespaces/{self._settings.namespace}/{plural}/{AUTHORITY}"

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | Sequence[Mapping[str, object]] | None = None,
        accept: str = "application/json",
        media: str = MERGE,
        seconds: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        """Return what the API server answers. Raises ClusterError.

        seconds: how long it may take; media: in which form the body of a PATCH is.
        """
        attempted = f"{method} {path}"
        headers = {"Accept": accept}
        headers["Content-Type"] = media if method == "PATCH" else "application/json"
        try:
            async with asyncio.timeout(seconds):
                request = await self._api.param_serialize(
                    method,
                    path,
                    query_params=list((query or {}).items()),
                    header_params=headers,
                    body=body,
                    auth_settings=["BearerToken"],
                )
                answer = await self._api.call_api(*request)
                content = json.loads(await answer.response.read())
        except TimeoutError:
            raise ClusterError(attempted, f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ClusterError(attempted, f"{type(error).__name__}: {error}") from None
        self.answered_at = time.monotonic()
        if answer.status >= 300:
            why = str(content.get("message") or answer.reason)[:LONGEST_REASON]
            raise ClusterError(attempted, f"{answer.status} {why}", answer.status)
        return dict(content)


def _path(resource: Resource) -> str:
    within = f"/namespaces/{resource.namespace}" if resource.namespace else ""
    return f"{OURS}{within}/{PLURALS[resource.kind]}/{resource.name}"


@asynccontextmanager
async def connect(settings: Settings) -> AsyncGenerator[Cluster]:
    """Open a client: with the kubeconfig if there is one, else as the pod's service account."""
    configuration = client.Configuration()
    if settings.kubeconfig is not None:
        path = str(settings.kubeconfig)
        await config.load_kube_config(path, client_configuration=configuration)
    else:
        config.load_incluster_config(configuration)
    async with client.ApiClient(configuration) as api:
        yield Cluster(settings, api)


class _Lock(BaseLock):
    """The Lease as the election reads and writes it; no call waits longer than that can bear."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        super().__init__(NAME, settings.namespace, settings.identity)
        self._cluster = cluster
        self._lease: dict[str, Any] = {}
        self._holds = False

    @property
    def taken(self) -> bool:
        """Whether another holds the Lease that was ours, as last read."""
        holder = (self._lease.get("spec") or {}).get("holderIdentity")
        return self._holds and bool(holder) and holder != self.identity

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """Return the record of who leads, or what the API server says instead."""
        try:
            self._lease = await self._cluster.read_lease()
        except ClusterError as error:
            body = json.dumps({"code": error.status})
            return False, ApiException(status=error.status, reason=str(error), body=body)
        spec = self._lease.get("spec") or {}
        return True, LeaderElectionRecord(
            spec.get("holderIdentity") or None,
            str(spec.get("leaseDurationSeconds") or "") or None,
            spec.get("acquireTime"),
            spec.get("renewTime"),
        )

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        """Make the Lease, as ours."""
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": self._spec({}),
        }
        return await self._write("POST", lease)

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Make the Lease ours, or renew it, if nobody wrote it since it was read."""
        return await self._write("PUT", {**self._lease, "spec": self._spec(self._lease)})

    def _spec(self, lease: Mapping[str, Any]) -> dict[str, object]:
        before = lease.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        # A process that was killed and started again in its pod leads anew.
        ours = self._holds and before.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": before.get("acquireTime") or now if ours else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not ours),
        }

    async def _write(self, method: str, lease: Mapping[str, object]) -> bool:
        try:
            await self._cluster.write_lease(method, lease)
        except ClusterError as error:
            logger.warning("the Lease is not ours: %s", error)
            return False
        self._lease, self._holds = dict(lease), True
        return True


class Election:
    """Who leads: the holder of one coordination.k8s.io Lease."""

    def __init__(self, lock: _Lock) -> None:
        self._lock = lock
        self._election = LeaderElection(
            Config(
                lock,
                lease_duration=LEASE_SECONDS,
                renew_deadline=RENEW_SECONDS,
                retry_period=RETRY_SECONDS,
                onstarted_leading=_nothing,
                onstopped_leading=_nothing,
            )
        )

    async def win(self) -> None:
        """Wait until the Lease is ours."""
        await self._election.acquire()

    async def hold(self) -> None:
        """Renew the Lease; return once another holds it, or it was not renewed in time.

        The library's own loop counts from each attempt, by a clock that can be set: a process that
        slept through its Lease would go on for a while beside the next leader.
        """
        renewed = time.monotonic()
        while time.monotonic() - renewed < RENEW_SECONDS:
            if await self._election.try_acquire_or_renew():
                renewed = time.monotonic()
            if self._lock.taken:
                return
            await asyncio.sleep(RETRY_SECONDS)


async def _nothing() -> None:
    """What to do when leading begins and ends is the caller's business."""
