# SPDX-License-Identifier: Apache-2.0
"""The machine's network around the cluster: the node's bridge, sysctls, and their undoing.

A bridge without ports holds an address like a dummy interface does, and every kernel that
runs pods has bridges.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

from dev.cluster import iptables, layout
from dev.command import environment, found, output
from dev.errors import MachineUnfit
from dev.folders import STATE

SYSCTL = Path("/proc/sys")
WANTED = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
KUBELET_SETS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
CNI_RESULTS = Path("/var/lib/cni/results")
CONTAINER_LOGS = Path("/var/log/containers")


def up() -> None:
    """Note how things are, make the node's bridge with its address, let packets be routed."""
    _load_bridge_filter()
    if not layout.BEFORE.exists():
        _note_before()
    for name, value in WANTED.items():
        (SYSCTL / name).write_text(value)
    if not Path(f"/sys/class/net/{layout.NODE_BRIDGE}").exists():
        output(["ip", "link", "add", layout.NODE_BRIDGE, "type", "bridge"])
    output(["ip", "address", "replace", f"{layout.NODE_ADDRESS}/32", "dev", layout.NODE_BRIDGE])
    output(["ip", "link", "set", layout.NODE_BRIDGE, "up"])
    iptables.accept_pods()


def down() -> None:
    """Remove the bridges and our rules, put sysctls back, drop what CNI and kubelet noted."""
    for bridge in (layout.POD_BRIDGE, layout.NODE_BRIDGE):
        ports = Path(f"/sys/class/net/{bridge}/brif")
        for port in [path.name for path in ports.iterdir()] if ports.exists() else []:
            subprocess.run(["ip", "link", "delete", port], check=False, env=environment())
        if ports.exists():
            output(["ip", "link", "delete", bridge])
    if layout.BEFORE.exists():
        before = json.loads(layout.BEFORE.read_text())
        iptables.restore(before["chains"])
        for name, value in before["sysctls"].items():
            (SYSCTL / name).write_text(value)
    _forget_pods()


def _forget_pods() -> None:
    """Remove what libcni and the kubelet note outside of our folder, killed or not."""
    for result in CNI_RESULTS.glob("*"):
        if f"{STATE}/".encode() in result.read_bytes():
            result.unlink(missing_ok=True)
    for link in CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.POD_LOGS):
            link.unlink(missing_ok=True)


def _load_bridge_filter() -> None:
    """Without br_netfilter a ClusterIP fails between two pods of one bridge."""
    if not (SYSCTL / "net/bridge").exists() and found("modprobe"):
        output(["modprobe", "br_netfilter"])
    if not (SYSCTL / "net/bridge").exists():
        raise MachineUnfit("the kernel lacks br_netfilter: Services would not reach pods")


def _note_before() -> None:
    """Written once, before the first change, so that `down` knows what is not ours."""
    chains = iptables.snapshot()
    if "nat/KUBE-SERVICES" in chains.get("iptables", []):
        raise MachineUnfit(
            "a kube-proxy works on this machine already (iptables chain KUBE-SERVICES): "
            "two would overwrite each other's rules; end the other cluster first"
        )
    sysctls: dict[str, str] = {}
    for name in (*WANTED, *KUBELET_SETS):
        with suppress(FileNotFoundError):
            sysctls[name] = (SYSCTL / name).read_text().strip()
    layout.BEFORE.parent.mkdir(parents=True, exist_ok=True)
    fresh = layout.BEFORE.with_suffix(".new")
    fresh.write_text(json.dumps({"chains": chains, "sysctls": sysctls}))
    fresh.rename(layout.BEFORE)
