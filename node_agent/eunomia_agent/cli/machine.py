# SPDX-License-Identifier: Apache-2.0
"""Whether this machine has, and grants, what trackers need."""

from collections.abc import Iterable
from pathlib import Path

from eunomia_agent.cli.errors import MachineLacks
from eunomia_agent.kernel.libbpf import library
from eunomia_agent.trackers.catalogue import Tracker

CAPABILITIES = {"CAP_BPF": 39, "CAP_PERFMON": 38}
CAP_SYS_ADMIN = 21
"""Takes the place of both."""
TYPES = Path("/sys/kernel/btf/vmlinux")


def require(trackers: Iterable[Tracker]) -> None:
    """Raise MachineLacks or KernelError for the first thing without which nothing can run."""
    library()
    missing = ungranted()
    if missing:
        raise MachineLacks(
            f"not allowed to load BPF programs: {' and '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} missing; run it as "
            "root, such as with sudo"
        )
    if not TYPES.exists():
        raise MachineLacks(
            f"the kernel does not tell its types: there is no {TYPES}; it needs a kernel that "
            "was built with CONFIG_DEBUG_INFO_BTF=y, as those of the distributions are"
        )


def ungranted() -> list[str]:
    """Return which capabilities this process lacks."""
    return missing_capabilities(Path("/proc/self/status").read_text())


def missing_capabilities(status: str) -> list[str]:
    """Return which capabilities are missing. status: the text of /proc/self/status."""
    line = next((each for each in status.splitlines() if each.startswith("CapEff:")), "CapEff: 0")
    effective = int(line.split()[1], 16)
    if effective >> CAP_SYS_ADMIN & 1:
        return []
    return [name for name, number in CAPABILITIES.items() if not effective >> number & 1]
