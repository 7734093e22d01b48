# SPDX-License-Identifier: Apache-2.0
"""Kubeconfig files: JSON, which is YAML too, with the certificates inside."""

from __future__ import annotations

import base64
from pathlib import Path

from dev.cluster import certificates, file, layout


def write(path: Path, user: str) -> str:
    """Write the kubeconfig of one of certificates.SUBJECTS, readable by root alone."""
    return file.write_json(path, content(user), mode=0o600)


def content(user: str) -> dict[str, object]:
    """The kubeconfig that lets `user` speak to our API server."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": layout.NAME,
        "clusters": [
            {
                "name": layout.NAME,
                "cluster": {
                    "server": layout.APISERVER,
                    "certificate-authority-data": _encoded(
                        certificates.certificate(certificates.AUTHORITY)
                    ),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _encoded(certificates.certificate(user)),
                    "client-key-data": _encoded(certificates.key(user)),
                },
            }
        ],
        "contexts": [
            {"name": layout.NAME, "context": {"cluster": layout.NAME, "user": user}},
        ],
    }


def _encoded(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()
