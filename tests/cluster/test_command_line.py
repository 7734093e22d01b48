# SPDX-License-Identifier: Apache-2.0
"""`eunomia` on a node: containers by what the runtime calls them, and a job from a file."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

from dev.cluster.layout import CONTAINERD_SOCKET

EUNOMIA = Path(sys.executable).with_name("eunomia")


@pytest.fixture
def started(start_service):
    """Start the command, and wait until it is ready."""

    def start(*arguments):
        environment = {**os.environ, "EUNOMIA_CRI_SOCKET": str(CONTAINERD_SOCKET)}
        return start_service(EUNOMIA, *arguments, env=environment)

    return start


def ended(command):
    """Rows, and the last line, of a command that is told to end."""
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)
    assert command.returncode == 0
    return [json.loads(line) for line in out.splitlines()], err.decode().splitlines()[-1]


def test_one_pod_of_two_is_traced_exactly(cluster, namespace, started):
    cluster.pod(namespace, "maker")
    cluster.pod(namespace, "other")
    command = started(
        "run", "opensnoop", "-c", f"{namespace}/maker", "--prefix", "/tmp/line-", "--fmt", "json"
    )

    cluster.generate(namespace, "maker", "opens", "3000", "/tmp/line")
    cluster.generate(namespace, "other", "opens", "100", "/tmp/line")

    rows, last = ended(command)
    assert [row["path"] for row in rows] == [f"/tmp/line-{i}" for i in range(3000)]
    assert {(row["namespace"], row["pod"], row["container"]) for row in rows} == {
        (namespace, "maker", "main")
    }
    assert last.startswith("3,000 events, 0 lost, 0 limited")
    assert last.endswith("100 % complete")


def test_a_job_from_a_file_finds_pods_by_label_that_start_later(
    cluster, namespace, started, tmp_path
):
    job = {
        "apiVersion": "eunomia.dev/v1alpha1",
        "kind": "TraceJob",
        "metadata": {"name": "labelled", "namespace": namespace},
        "spec": {
            "target": {"podSelector": {"matchLabels": {"app": "late"}}},
            "trackers": [{"name": "opensnoop", "params": {"prefix": "/tmp/late-"}}],
        },
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    # Loaded, and nothing is attached while there is no such pod.
    command = started("run", "-f", str(path), "--fmt", "json")

    cluster.pod(namespace, "late", labels={"app": "late"})
    cluster.pod(namespace, "stranger")
    cluster.generate(namespace, "late", "opens", "500", "/tmp/late")
    cluster.generate(namespace, "stranger", "opens", "500", "/tmp/late")

    rows, last = ended(command)
    assert [row["path"] for row in rows] == [f"/tmp/late-{i}" for i in range(500)]
    assert {row["pod"] for row in rows} == {"late"}
    assert last.startswith("500 events, 0 lost, 0 limited")
