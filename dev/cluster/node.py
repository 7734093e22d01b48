# SPDX-License-Identifier: Apache-2.0
"""containerd, kubelet and kube-proxy: what runs pods on this machine."""

from __future__ import annotations

from pathlib import Path

from dev.cluster import certificates, file, kubeconfig, layout
from dev.cluster.component import Component, http_probe, socket_probe
from dev.folders import STATE

CNI_PLUGINS = "/usr/lib/cni"
CNI_CONFIG = layout.CONFIG / "cni"

CONTAINERD = f"""
version = 2
root = "{STATE}/containerd/root"
state = "{STATE}/containerd/state"

[grpc]
  address = "{layout.CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{STATE}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{layout.PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{CNI_CONFIG}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{STATE}/runc"
  SystemdCgroup = false
"""


def containerd() -> Component:
    """An own containerd: own root, state, socket and pod network."""
    layout.CONTAINERD_SOCKET.parent.mkdir(parents=True, exist_ok=True)
    file.write_json(CNI_CONFIG / "10-pods.conflist", pod_network())
    config = file.write(layout.CONFIG / "containerd.toml", CONTAINERD)
    argv = ("containerd", "--config", config)
    return Component("containerd", argv, socket_probe(layout.CONTAINERD_SOCKET))


def remove_shim_sockets() -> None:
    """Remove the sockets of shims that were killed: containerd keeps them outside of its root."""
    for note in (STATE / "containerd/state").glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(note.read_text().removeprefix("unix://")).unlink(missing_ok=True)


def pod_network() -> dict[str, object]:
    """The CNI network: one bridge, addresses from one subnet, hostPorts by portmap."""
    bridge = {
        "type": "bridge",
        "bridge": layout.POD_BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(STATE / "addresses"),
            "ranges": [[{"subnet": layout.POD_SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": layout.NAME, "plugins": [bridge, portmap]}


def kubelet(binaries: Path) -> Component:
    """The kubelet, all of its folders inside ours and its pods below a cgroup of ours."""
    user = kubeconfig.write(layout.CONFIG / "kubelet.kubeconfig", "kubelet")
    config = file.write_json(layout.CONFIG / "kubelet.json", kubelet_configuration())
    argv = (
        str(binaries / "kubelet"),
        f"--config={config}",
        f"--kubeconfig={user}",
        f"--root-dir={layout.KUBELET_ROOT}",
        f"--hostname-override={layout.NAME}",
        f"--node-ip={layout.NODE_ADDRESS}",
    )
    return Component("kubelet", argv, http_probe(layout.KUBELET_HEALTH_PORT, "/healthz"))


def kubelet_configuration() -> dict[str, object]:
    """kubelet.config.k8s.io/v1beta1, for a machine that need not have cgroup v2 or spare disk."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.NODE_ADDRESS,
        "port": layout.KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": layout.KUBELET_HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": certificates.certificate(certificates.AUTHORITY)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": certificates.certificate("kubelet"),
        "tlsPrivateKeyFile": certificates.key("kubelet"),
        "clusterDNS": [layout.DNS_ADDRESS],
        "clusterDomain": layout.DOMAIN,
        "containerRuntimeEndpoint": f"unix://{layout.CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "maxPods": layout.MAX_PODS,
        "podLogsDir": str(layout.POD_LOGS),
        "volumePluginDir": str(STATE / "flexvolumes"),
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def proxy(binaries: Path) -> Component:
    """kube-proxy in iptables mode, which leaves the machine's conntrack settings alone."""
    user = kubeconfig.write(layout.CONFIG / "proxy.kubeconfig", "proxy")
    config = file.write_json(
        layout.CONFIG / "proxy.json",
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": layout.NAME,
            "clientConnection": {"kubeconfig": user},
            "clusterCIDR": layout.POD_SUBNET,
            "healthzBindAddress": f"127.0.0.1:{layout.PROXY_HEALTH_PORT}",
            "metricsBindAddress": f"127.0.0.1:{layout.PROXY_METRICS_PORT}",
            "nodePortAddresses": ["primary"],
            "oomScoreAdj": 0,
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
        },
    )
    argv = (str(binaries / "kube-proxy"), f"--config={config}")
    return Component("kube-proxy", argv, http_probe(layout.PROXY_HEALTH_PORT, "/healthz"))
