# SPDX-License-Identifier: Apache-2.0
"""The authority is made once, kept in its Secret, and renewed without a moment without trust."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.aio import client

from eunomia_operator.certificates import ca
from eunomia_operator.certificates import trust as trust_module
from eunomia_operator.certificates.trust import Trust
from eunomia_operator.cluster.client import Cluster
from eunomia_operator.errors import AuthorityInvalid, ClusterError
from eunomia_operator.settings import Settings

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("eunomia-operator.eunomia.svc", "localhost")


def verify(server: ca.Pair, authority: ca.Pair) -> None:
    key = authority.parsed.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    server.parsed.verify_directly_issued_by(authority.parsed)


def test_a_server_certificate_is_for_the_names_and_signed_by_the_authority() -> None:
    authority = ca.make_authority(BEGIN)
    server = ca.issue(authority, NAMES, BEGIN)
    verify(server, authority)
    names = server.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert tuple(names.value.get_values_for_type(x509.DNSName)) == NAMES
    assert not ca.is_due(server, BEGIN + timedelta(days=6))
    assert ca.is_due(server, BEGIN + timedelta(days=8))


def test_an_authority_survives_its_secret() -> None:
    authorities = ca.rotate(None, BEGIN, distributed=False)
    data = {name: value for name, value in authorities.to_secret().items() if value is not None}
    assert ca.from_secret(data) == authorities
    assert ca.from_secret({}) is None


@pytest.mark.parametrize("field", ["ca.crt", "ca.key"])
def test_a_broken_secret_is_told_as_such(field: str) -> None:
    good = ca.rotate(None, BEGIN, distributed=False).to_secret()
    another: Any = ca.rotate(None, BEGIN, distributed=False).to_secret()
    data = {name: value for name, value in good.items() if value is not None}
    with pytest.raises(AuthorityInvalid):
        ca.from_secret({**data, field: b"-----BEGIN nonsense"})
    with pytest.raises(AuthorityInvalid):
        ca.from_secret({**data, field: another[field]})
    del data[field]
    with pytest.raises(AuthorityInvalid):
        ca.from_secret(data)


def test_at_every_moment_agents_trust_the_one_that_signs() -> None:
    """Agents hold the bundle of a quarter of an hour ago, and yet never see a stranger."""
    authorities = ca.rotate(None, BEGIN, distributed=False)
    bundles = [authorities.bundle(BEGIN)]
    signers = {authorities.present.certificate}
    now = BEGIN
    while now < BEGIN + timedelta(days=800):
        now += timedelta(minutes=15) if authorities.next else timedelta(days=1)
        authorities = ca.rotate(authorities, now, distributed=True)
        assert authorities.present.certificate.decode() in bundles[-1]
        assert authorities.present.parsed.not_valid_after_utc > now
        signers.add(authorities.present.certificate)
        bundles.append(authorities.bundle(now))
    assert len(signers) == 3


def test_the_next_one_does_not_sign_before_agents_are_given_it() -> None:
    old = ca.rotate(None, BEGIN, distributed=False)
    due = BEGIN + timedelta(days=280)
    both = ca.rotate(old, due, distributed=True)
    assert both.next is not None
    for days in (1, 20):
        later = due + timedelta(days=days)
        assert ca.rotate(both, later, distributed=False) == both
    after = ca.rotate(both, due + timedelta(minutes=61), distributed=True)
    assert (after.present, after.next, after.previous) == (
        both.next,
        None,
        old.present.certificate,
    )


class Store:
    """The Secret and the ConfigMap."""

    def __init__(self, data: dict[str, bytes] | None = None) -> None:
        self.data = data or {}
        self.bundle = ""
        self.webhook_bundle: str | None = ""
        self.version = 0

    async def read_authority(self) -> tuple[dict[str, bytes], str]:
        return dict(self.data), str(self.version)

    async def patch_authority(self, data: dict[str, bytes | None], version: str) -> None:
        if version != str(self.version):
            raise ClusterError("write Secret", "conflict", 409)
        self.version += 1
        self.data = {k: v for k, v in {**self.data, **data}.items() if v is not None}

    async def read_bundle(self) -> str:
        return self.bundle

    async def patch_bundle(self, bundle: str) -> None:
        self.bundle = bundle

    async def read_webhook_bundle(self) -> str:
        if self.webhook_bundle is None:
            raise ClusterError("GET webhook", "404 not found", 404)
        return self.webhook_bundle

    async def patch_webhook_bundle(self, bundle: str) -> None:
        self.webhook_bundle = bundle


async def test_two_leaders_one_after_the_other_serve_under_one_authority() -> None:
    store = Store()
    first, second = Trust(store, NAMES), Trust(store, NAMES)
    await first.start()
    bundle = store.bundle
    await second.start()
    assert store.bundle == bundle
    assert store.version == 1
    authority = ca.from_secret(store.data)
    assert authority is not None
    assert first.server is not None
    assert second.server is not None
    assert first.server != second.server
    for server in (first.server, second.server):
        verify(server, authority.present)


async def test_a_broken_secret_is_replaced_so_that_agents_can_connect_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store({"ca.crt": b"x", "ca.key": b"y"})
    trust = Trust(store, NAMES)
    await trust.start()
    authority: Any = ca.from_secret(store.data)
    assert authority.present.certificate.decode() == store.bundle
    assert "it is broken" in caplog.text


async def test_the_webhook_is_trusted_with_the_same_bundle_and_its_absence_keeps_nobody() -> None:
    store = Store()
    store.webhook_bundle = None
    trust = Trust(store, NAMES)
    await trust.start()
    assert trust.server is not None
    store.webhook_bundle = ""
    await trust.look()
    assert store.webhook_bundle == store.bundle != ""


@pytest.mark.parametrize(
    ("webhooks", "told"),
    [
        (None, None),
        ([], None),
        ([{"name": "another"}], None),
        ([{"name": "another"}, {"name": "seccomp.eunomia.dev"}], ""),
        ([{"name": "seccomp.eunomia.dev", "clientConfig": {"caBundle": "?"}}], ""),
        (
            [{"name": "x"}, {"name": "seccomp.eunomia.dev", "clientConfig": {"caBundle": "YQ=="}}],
            "a",
        ),
    ],
)
async def test_a_webhook_that_somebody_switched_off_is_an_error_that_can_be_borne(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, webhooks: Any, told: str | None
) -> None:
    api = client.ApiClient()
    cluster = Cluster(settings, api)

    async def call(*_: object, **__: object) -> dict[str, Any]:
        return {"webhooks": webhooks}

    monkeypatch.setattr(cluster, "call", call)
    if told is None:
        with pytest.raises(ClusterError, match="it has no webhook seccomp"):
            await cluster.read_webhook_bundle()
    else:
        assert await cluster.read_webhook_bundle() == told
    await api.close()


async def test_certificates_that_somebody_took_out_of_the_webhook_are_back_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trust_module, "WEBHOOK_SECONDS", 0.01)
    store = Store()
    trust = Trust(store, NAMES)
    await trust.start()
    store.webhook_bundle = ""
    task = asyncio.create_task(trust.run())
    await asyncio.sleep(0.1)
    task.cancel()
    assert store.webhook_bundle == store.bundle != ""
