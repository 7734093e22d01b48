# SPDX-License-Identifier: Apache-2.0
"""What the operator is told by its environment."""

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from eunomia_operator.errors import SettingsInvalid

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
NAME = "eunomia-operator"
"""Name of the Lease, and of the component in Kubernetes Events."""
AUTHORITY = "eunomia-ca"
"""Name of the Secret with the CA's key, and of the ConfigMap with its certificates."""
WEBHOOK = "eunomia-seccomp"
"""Name of the MutatingWebhookConfiguration."""
WEBHOOK_SERVICE = "eunomia-webhook"
"""The Service by whose name the API server dials the webhook."""

CERTIFICATE_LIFE = timedelta(days=14)
SHORTEST_LIFE, LONGEST_LIFE = 20, 90 * 24 * 3600
"""Seconds for which a certificate of the webhook may be valid: authorities live for longer."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is an environment variable; see from_environment."""

    namespace: str
    """The operator's own namespace."""
    identity: str
    """The holder's name in the Lease."""
    service: str = NAME
    """The headless Service by whose name agents dial."""
    cluster_domain: str = "cluster.local"
    agent_account: str = "eunomia-agent"
    """The service account, in the same namespace, that agents' tokens are for."""
    audience: str = "eunomia.dev"
    grpc_address: str = "0.0.0.0:9443"
    http_address: str = "0.0.0.0:8080"
    webhook_address: str = "0.0.0.0:9444"
    webhook_certificate_life: timedelta = CERTIFICATE_LIFE
    """A new one is made after half of it."""
    log_level: int = logging.INFO
    kubeconfig: Path | None = None
    """None: the pod's own service account."""

    @property
    def server_names(self) -> tuple[str, ...]:
        """DNS names that the server certificate is for."""
        service = f"{self.service}.{self.namespace}"
        return (
            self.service,
            service,
            f"{service}.svc",
            f"{service}.svc.{self.cluster_domain}",
            "localhost",
        )

    @property
    def webhook_names(self) -> tuple[str, ...]:
        """DNS names that the webhook's certificate is for."""
        return (f"{WEBHOOK_SERVICE}.{self.namespace}.svc", "localhost")


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings.

    Raises SettingsInvalid naming the variable and what it may hold.
    """
    given = {
        "service": environment.get("EUNOMIA_SERVICE"),
        "cluster_domain": environment.get("EUNOMIA_CLUSTER_DOMAIN"),
        "agent_account": environment.get("EUNOMIA_AGENT_SERVICE_ACCOUNT"),
        "audience": environment.get("EUNOMIA_AUDIENCE"),
        "grpc_address": _address(environment, "EUNOMIA_GRPC_ADDRESS"),
        "http_address": _address(environment, "EUNOMIA_HTTP_ADDRESS"),
        "webhook_address": _address(environment, "EUNOMIA_WEBHOOK_ADDRESS"),
    }
    kubeconfig = environment.get("KUBECONFIG")
    return Settings(
        namespace=_required(environment, "EUNOMIA_NAMESPACE"),
        identity=environment.get("EUNOMIA_IDENTITY") or socket.gethostname(),
        log_level=_level(environment),
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        webhook_certificate_life=_life(environment, "EUNOMIA_WEBHOOK_CERTIFICATE_SECONDS"),
        **{name: value for name, value in given.items() if value},
    )


def split(address: str) -> tuple[str, int]:
    """Return host and port of an address; an IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise SettingsInvalid(f"{name} is not set; it must name the operator's own namespace")
    return value


def _address(environment: Mapping[str, str], name: str) -> str | None:
    value = environment.get(name)
    if not value:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise SettingsInvalid(f"{name} is {value!r}; it must be HOST:PORT, such as [::]:9443")
    return value


def _life(environment: Mapping[str, str], name: str) -> timedelta:
    value = environment.get(name)
    if not value:
        return CERTIFICATE_LIFE
    if not value.isdecimal() or not SHORTEST_LIFE <= int(value) <= LONGEST_LIFE:
        raise SettingsInvalid(
            f"{name} is {value!r}; it must be seconds from {SHORTEST_LIFE} to {LONGEST_LIFE}"
        )
    return timedelta(seconds=int(value))


def _level(environment: Mapping[str, str]) -> int:
    value = environment.get("EUNOMIA_LOG_LEVEL", "INFO").upper()
    if value not in LEVELS:
        raise SettingsInvalid(f"EUNOMIA_LOG_LEVEL is {value!r}; use one of {', '.join(LEVELS)}")
    return logging.getLevelNamesMapping()[value]
