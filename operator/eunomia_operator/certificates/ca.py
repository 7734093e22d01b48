# SPDX-License-Identifier: Apache-2.0
"""The operator's own certificate authority. Pure but for the making of keys.

Rotation goes in two steps with a pause between them. First a next authority stands beside the
present one in what agents trust; when it has stood there for longer than a ConfigMap takes to reach
every pod, it becomes the present one and signs. The one before stays trusted until it ends.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eunomia_operator.errors import AuthorityInvalid
from eunomia_operator.settings import CERTIFICATE_LIFE, NAME

AUTHORITY_LIFE = timedelta(days=365)
AUTHORITY_SUCCESSION = timedelta(days=90)
"""So long before its end an authority gets a next one."""
DISTRIBUTION = timedelta(hours=1)
"""Longer than a ConfigMap takes to reach every pod (kubelet: a minute or two)."""
CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both as PEM."""

    certificate: bytes
    key: bytes

    @property
    def parsed(self) -> x509.Certificate:
        """The certificate."""
        return x509.load_pem_x509_certificate(self.certificate)


@dataclass(frozen=True, slots=True)
class Authorities:
    """The authority that signs, the one that will, and the one that did."""

    present: Pair
    next: Pair | None = None
    previous: bytes | None = None
    """A certificate as PEM."""

    def bundle(self, now: datetime) -> str:
        """Return the certificates to trust, as PEM."""
        trusted = [self.present.certificate]
        if self.next is not None:
            trusted.append(self.next.certificate)
        if self.previous is not None and _ends(self.previous) > now:
            trusted.append(self.previous)
        return b"".join(trusted).decode("ascii")

    def to_secret(self) -> dict[str, bytes | None]:
        """Return the data of the Secret."""
        return {
            "ca.crt": self.present.certificate,
            "ca.key": self.present.key,
            "next.crt": self.next.certificate if self.next else None,
            "next.key": self.next.key if self.next else None,
            "previous.crt": self.previous,
        }


def from_secret(data: Mapping[str, bytes]) -> Authorities | None:
    """Return what the Secret holds; None when it is empty, as it is shipped.

    Raises AuthorityInvalid when there is something that is no certificate with its key.
    """
    if not data:
        return None
    try:
        present = _checked(Pair(data["ca.crt"], data["ca.key"]))
        following = None
        if "next.crt" in data:
            following = _checked(Pair(data["next.crt"], data["next.key"]))
        previous = data.get("previous.crt")
        if previous is not None:
            _ends(previous)
    except (KeyError, ValueError, TypeError) as error:
        raise AuthorityInvalid(f"{type(error).__name__}: {error}") from None
    return Authorities(present, following, previous)


def rotate(authorities: Authorities | None, now: datetime, *, distributed: bool) -> Authorities:
    """Return the authorities as they should be now: the same ones, or one step further.

    distributed: whether agents are given what `bundle` says.
    """
    if authorities is None or _ends(authorities.present.certificate) <= now:
        return Authorities(make_authority(now))
    if authorities.next is None:
        if _ends(authorities.present.certificate) - now > AUTHORITY_SUCCESSION:
            return authorities
        return replace(authorities, next=make_authority(now))
    known_since = authorities.next.parsed.not_valid_before_utc + CLOCKS_DIFFER
    if not distributed or now - known_since < DISTRIBUTION:
        return authorities
    return Authorities(authorities.next, None, authorities.present.certificate)


def make_authority(now: datetime) -> Pair:
    """Return a new authority, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A number in the name tells two authorities apart where both are trusted.
    name = _name(f"Eunomia CA {x509.random_serial_number():x}"[:64])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), now)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(
    authority: Pair, names: Iterable[str], now: datetime, life: timedelta = CERTIFICATE_LIFE
) -> Pair:
    """Return a server certificate for DNS names, signed by an authority."""
    signer = serialization.load_pem_private_key(authority.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise AuthorityInvalid("the key of the authority is of another kind than it makes")
    key = ec.generate_private_key(ec.SECP256R1())
    dns = [x509.DNSName(name) for name in names]
    certificate = (
        _builder(_name(NAME), authority.parsed.subject, key.public_key(), now)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectAlternativeName(dns), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    return _pair(certificate, key)


def is_due(server: Pair, now: datetime) -> bool:
    """Tell whether a server certificate has lived for half its life."""
    begun = server.parsed.not_valid_before_utc + CLOCKS_DIFFER
    ends = server.parsed.not_valid_after_utc
    return ends - now < (ends - begun) / 2


def now() -> datetime:
    """Return the present time with its zone."""
    return datetime.now(UTC)


def _checked(pair: Pair) -> Pair:
    key = serialization.load_pem_private_key(pair.key, password=None)
    if _public(key) != _public(pair.parsed):
        raise ValueError("certificate and key do not belong together")
    return pair


def _public(holder: PrivateKeyTypes | x509.Certificate) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _ends(certificate: bytes) -> datetime:
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - CLOCKS_DIFFER)
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
