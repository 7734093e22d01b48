# SPDX-License-Identifier: Apache-2.0
"""Labels and names as runtimes tell them: which are a pod's own, and how long they may be."""

from collections.abc import Mapping
from types import MappingProxyType

MAX_NAME = 253
MAX_IMAGE = 4096
MAX_LABEL_BYTES = 1 << 20
"""The API server takes no object much larger than this."""

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
"""Set by the kubelet, pkg/kubelet/types/labels.go, on the sandbox and on containers."""

_NOT_THE_PODS = frozenset({POD_NAME, POD_NAMESPACE, POD_UID, CONTAINER_NAME})


def pod_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return a sandbox's labels without those of the kubelet and of CRI-O: the pod's own."""
    return MappingProxyType(
        {key: value for key, value in labels.items() if key not in _NOT_THE_PODS}
    )


def too_long(**names: str) -> str:
    """Return what is wrong with names that nobody needs so long; empty if nothing is."""
    for what, name in names.items():
        most = MAX_IMAGE if what == "image" else MAX_NAME
        if len(name) > most:
            return f"a name of {what} of {len(name)} characters; at most {most}"
    return ""


def label_bytes(labels: Mapping[str, str]) -> int:
    """Return how much text labels are, in characters."""
    return sum(len(key) + len(value) for key, value in labels.items())
