# SPDX-License-Identifier: Apache-2.0
"""What the agent is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from eunomia_agent.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an agent that runs for an operator.

    node: name of this node in Kubernetes (NODE_NAME).
    kubernetes_api: address of the service `kubernetes`, which the kubelet gives to every pod
        (KUBERNETES_SERVICE_HOST); "" where that is not there, or a name.
    operator: gRPC name of the operator (EUNOMIA_OPERATOR).
    token_file: projected service-account token, audience eunomia.dev (EUNOMIA_TOKEN_FILE).
    ca_file: certificates of the operator's authority, PEM (EUNOMIA_CA_FILE).
    state: folder on the node, 0700, for the desired state, totals and outputs (EUNOMIA_STATE_DIR).
    cri_socket: the container runtime's socket (EUNOMIA_CRI_SOCKET). docker_socket: of an engine
        that speaks Docker's API (EUNOMIA_DOCKER_SOCKET). Both None: look in the usual places.
    cgroup_root: the tree of cgroups (EUNOMIA_CGROUP_ROOT); None: find it in /proc/self/mountinfo.
    memory_bytes: what the buffers of all jobs may take up together (EUNOMIA_MEMORY_BYTES); well
        below the memory limit of the agent's container.
    seccomp_dir: the kubelet's folder of seccomp profiles, as it is seen here (EUNOMIA_SECCOMP_DIR).
    metrics_port: where /metrics and /healthz are served (EUNOMIA_METRICS_PORT).
    log_level: of the agent's own log on stderr (EUNOMIA_LOG_LEVEL).
    """

    node: str
    kubernetes_api: str
    operator: str
    token_file: Path
    ca_file: Path
    state: Path
    cri_socket: Path | None
    docker_socket: Path | None
    cgroup_root: Path | None
    memory_bytes: int
    seccomp_dir: Path
    metrics_port: int
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings. Raises SettingsError, naming the variable."""
        level = environment.get("EUNOMIA_LOG_LEVEL", "INFO").upper()
        if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise SettingsError(
                f'EUNOMIA_LOG_LEVEL is "{level}"; give DEBUG, INFO, WARNING or ERROR'
            )
        return cls(
            node=_required(environment, "NODE_NAME"),
            kubernetes_api=_address(environment.get("KUBERNETES_SERVICE_HOST", "")),
            operator=environment.get(
                "EUNOMIA_OPERATOR", "dns:///eunomia-operator.eunomia-system.svc:9443"
            ),
            token_file=Path(environment.get("EUNOMIA_TOKEN_FILE", "/run/eunomia/token/token")),
            ca_file=Path(environment.get("EUNOMIA_CA_FILE", "/run/eunomia/ca/ca.crt")),
            state=Path(environment.get("EUNOMIA_STATE_DIR", "/var/lib/eunomia")),
            cri_socket=_path(environment, "EUNOMIA_CRI_SOCKET"),
            docker_socket=_path(environment, "EUNOMIA_DOCKER_SOCKET"),
            cgroup_root=_path(environment, "EUNOMIA_CGROUP_ROOT"),
            memory_bytes=_number(environment, "EUNOMIA_MEMORY_BYTES", 192 << 20, 1 << 20, 1 << 40),
            seccomp_dir=Path(environment.get("EUNOMIA_SECCOMP_DIR", "/var/lib/kubelet/seccomp")),
            metrics_port=_number(environment, "EUNOMIA_METRICS_PORT", 9464, 1, 65535),
            log_level=level,
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set; the DaemonSet sets it from spec.nodeName")
    return value


def _address(text: str) -> str:
    """Return an address as rows show it; "" of what is none."""
    try:
        return ip_address(text).compressed
    except ValueError:
        return ""


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f'{name} is "{text}"; give a whole number from {least} to {most}')
    return int(text)


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name, "")
    return Path(value) if value else None
