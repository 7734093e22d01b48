# SPDX-License-Identifier: Apache-2.0
"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""

from __future__ import annotations

from pathlib import Path

from dev.cluster import certificates, kubeconfig, layout
from dev.cluster.component import Component, http_probe, https_probe
from dev.folders import STATE

LOOPBACK = "127.0.0.1"


def etcd() -> Component:
    """Debian's etcd, on loopback; without fsync, since its data dies with the cluster."""
    clients = f"http://{LOOPBACK}:{layout.ETCD_PORT}"
    peers = f"http://{LOOPBACK}:{layout.ETCD_PEER_PORT}"
    argv = (
        *("etcd", "--name", layout.NAME, "--data-dir", str(STATE / "etcd"), "--unsafe-no-fsync"),
        *("--listen-client-urls", clients, "--advertise-client-urls", clients),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"{layout.NAME}={peers}"),
    )
    return Component("etcd", argv, http_probe(layout.ETCD_PORT, "/health"))


def apiserver(binaries: Path) -> Component:
    """kube-apiserver on the node's address, so that pods reach it."""
    authority = certificates.certificate(certificates.AUTHORITY)
    to_kubelet = "apiserver-to-kubelet"
    argv = (
        str(binaries / "kube-apiserver"),
        f"--bind-address={layout.NODE_ADDRESS}",
        f"--advertise-address={layout.NODE_ADDRESS}",
        "--secure-port=6443",
        f"--etcd-servers=http://{LOOPBACK}:{layout.ETCD_PORT}",
        f"--service-cluster-ip-range={layout.SERVICE_SUBNET}",
        f"--client-ca-file={authority}",
        f"--tls-cert-file={certificates.certificate('apiserver')}",
        f"--tls-private-key-file={certificates.key('apiserver')}",
        f"--kubelet-certificate-authority={authority}",
        f"--kubelet-client-certificate={certificates.certificate(to_kubelet)}",
        f"--kubelet-client-key={certificates.key(to_kubelet)}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{layout.DOMAIN}",
        f"--service-account-signing-key-file={certificates.key(certificates.SERVICE_ACCOUNT)}",
        f"--service-account-key-file={certificates.public_key(certificates.SERVICE_ACCOUNT)}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
    )
    probe = https_probe(
        layout.NODE_ADDRESS,
        6443,
        "/readyz",
        authority=authority,
        user=str(layout.PKI / "admin"),
    )
    return Component("kube-apiserver", argv, probe)


def controller_manager(binaries: Path) -> Component:
    """kube-controller-manager, one alone and so without a lease."""
    user = kubeconfig.write(layout.CONFIG / "controller-manager.kubeconfig", "controller-manager")
    port = layout.CONTROLLER_MANAGER_PORT
    argv = (
        str(binaries / "kube-controller-manager"),
        *_common(user, port),
        f"--root-ca-file={certificates.certificate(certificates.AUTHORITY)}",
        f"--service-account-private-key-file={certificates.key(certificates.SERVICE_ACCOUNT)}",
        "--use-service-account-credentials=true",
        f"--cluster-cidr={layout.POD_SUBNET}",
        f"--service-cluster-ip-range={layout.SERVICE_SUBNET}",
        "--allocate-node-cidrs=false",
        f"--flex-volume-plugin-dir={STATE / 'flexvolumes'}",
    )
    probe = https_probe(LOOPBACK, port, "/healthz", authority="")
    return Component("kube-controller-manager", argv, probe)


def scheduler(binaries: Path) -> Component:
    """kube-scheduler, one alone and so without a lease."""
    user = kubeconfig.write(layout.CONFIG / "scheduler.kubeconfig", "scheduler")
    port = layout.SCHEDULER_PORT
    argv = (str(binaries / "kube-scheduler"), *_common(user, port))
    probe = https_probe(LOOPBACK, port, "/healthz", authority="")
    return Component("kube-scheduler", argv, probe)


def _common(user: str, port: int) -> tuple[str, ...]:
    return (
        f"--kubeconfig={user}",
        f"--authentication-kubeconfig={user}",
        f"--authorization-kubeconfig={user}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--cert-dir={layout.CONFIG}",
        "--leader-elect=false",
        "--authentication-tolerate-lookup-failure=true",
    )
