# SPDX-License-Identifier: Apache-2.0
"""The cluster's certificate authority and the certificates of its components.

Who is who follows Kubernetes' "PKI certificates and requirements": the common name is the
user, the organization is the group that RBAC and the Node authorizer know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dev.cluster import file, layout
from dev.command import output

DAYS = 3650
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Subject:
    """One certificate: file name, user, group, and the names that it serves under."""

    name: str
    user: str
    group: str = ""
    serves: tuple[str, ...] = ()


SUBJECTS = (
    Subject("admin", "eunomia-dev-admin", "system:masters"),
    Subject("controller-manager", "system:kube-controller-manager"),
    Subject("scheduler", "system:kube-scheduler"),
    Subject("proxy", "system:kube-proxy"),
    Subject("apiserver-to-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
    Subject(
        "kubelet",
        f"system:node:{layout.NAME}",
        "system:nodes",
        serves=(f"DNS:{layout.NAME}", f"IP:{layout.NODE_ADDRESS}"),
    ),
    Subject(
        "apiserver",
        "kube-apiserver",
        serves=(
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{layout.DOMAIN}",
            f"IP:{layout.NODE_ADDRESS}",
            f"IP:{layout.KUBERNETES_ADDRESS}",
            f"IP:{LOOPBACK}",
        ),
    ),
)

AUTHORITY = "ca"
SERVICE_ACCOUNT = "service-account"
"""The key that signs service-account tokens: it needs no certificate."""


def certificate(name: str) -> str:
    """The path of a certificate."""
    return str(layout.PKI / f"{name}.crt")


def key(name: str) -> str:
    """The path of a private key."""
    return str(layout.PKI / f"{name}.key")


def public_key(name: str) -> str:
    """The path of a public key without a certificate."""
    return str(layout.PKI / f"{name}.pub")


def make() -> None:
    """Make the authority, all certificates and the token key, each only when it is missing."""
    layout.PKI.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not Path(certificate(AUTHORITY)).exists():
        _make_key(AUTHORITY)
        _make_authority()
    if not Path(public_key(SERVICE_ACCOUNT)).exists():
        _make_key(SERVICE_ACCOUNT)
        output(
            [
                "openssl",
                "pkey",
                "-in",
                key(SERVICE_ACCOUNT),
                "-pubout",
                "-out",
                public_key(SERVICE_ACCOUNT),
            ]
        )
    for subject in SUBJECTS:
        if not Path(certificate(subject.name)).exists():
            _make_key(subject.name)
            _sign(subject)


def _make_key(name: str) -> None:
    text = output(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
    file.write(Path(key(name)), text, mode=0o600)


def _make_authority() -> None:
    output(
        [
            *("openssl", "req", "-x509", "-new", "-key", key(AUTHORITY), "-days", str(DAYS)),
            *("-subj", f"/CN={layout.NAME}-ca", "-out", certificate(AUTHORITY)),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
        ]
    )


def _sign(subject: Subject) -> None:
    group = f"/O={subject.group}" if subject.group else ""
    request = output(
        [
            *("openssl", "req", "-new", "-key", key(subject.name)),
            *("-subj", f"{group}/CN={subject.user}"),
        ]
    )
    extensions = file.write(layout.PKI / f"{subject.name}.ext", _extensions(subject))
    output(
        [
            *("openssl", "x509", "-req", "-days", str(DAYS), "-out", certificate(subject.name)),
            *("-CA", certificate(AUTHORITY), "-CAkey", key(AUTHORITY), "-CAcreateserial"),
            *("-extfile", extensions),
        ],
        text=request,
    )


def _extensions(subject: Subject) -> str:
    lines = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        f"extendedKeyUsage={'serverAuth,' if subject.serves else ''}clientAuth",
    ]
    if subject.serves:
        lines.append(f"subjectAltName={','.join(subject.serves)}")
    return "\n".join(lines) + "\n"
