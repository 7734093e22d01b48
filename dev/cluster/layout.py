# SPDX-License-Identifier: Apache-2.0
"""Where everything of the cluster is: names, folders, addresses, ports.

Loopback ports are not the usual ones, so that an etcd or a kubelet of the machine's own
does not stand in the way. The versions are in the go.mod files beside this one.
"""

from __future__ import annotations

from dev.folders import STATE

NAME = "eunomia-dev"
"""The node, the context, the CNI network, the root cgroup: all have this name."""

PIDS = STATE / "pids"
LOGS = STATE / "logs"
CONFIG = STATE / "config"
PKI = STATE / "pki"
BIN = STATE / "bin"
KUBECONFIG = STATE / "kubeconfig"
KUBELET_ROOT = STATE / "kubelet"
POD_LOGS = STATE / "pod-logs"
LOADED = STATE / "loaded"
"""An empty file for each image archive that the node has."""
CONTAINERD_SOCKET = STATE / "containerd/containerd.sock"
COMPLETE = STATE / "complete"
"""Exists once the cluster was wholly up; holds the boot id."""
BEFORE = STATE / "before.json"
"""How the machine's network was before us, to be put back."""

NODE_BRIDGE = "eunomia-node"
POD_BRIDGE = "eunomia-pods"
NODE_ADDRESS = "10.213.0.1"
POD_SUBNET = "10.213.4.0/22"
SERVICE_SUBNET = "10.213.8.0/24"
KUBERNETES_ADDRESS = "10.213.8.1"
"""The ClusterIP of Service default/kubernetes: the first one of the subnet."""
DNS_ADDRESS = "10.213.8.10"
DOMAIN = "cluster.local"
MAX_PODS = 250

APISERVER = f"https://{NODE_ADDRESS}:6443"
KUBELET_PORT = 10250
ETCD_PORT = 23790
ETCD_PEER_PORT = 23800
CONTROLLER_MANAGER_PORT = 23257
SCHEDULER_PORT = 23259
KUBELET_HEALTH_PORT = 23248
PROXY_HEALTH_PORT = 23256
PROXY_METRICS_PORT = 23249

PAUSE_IMAGE = "localhost/eunomia-pause:dev"
DNS_IMAGE = "localhost/eunomia-coredns:dev"
