# SPDX-License-Identifier: Apache-2.0
"""`eunomia` on a node: containers by what the runtime calls them, and a job from a file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dev.cluster.layout import CONTAINERD_SOCKET

PROGRAM = "anon_inode:bpf-prog"
"""What a program that is loaded is held by."""
EUNOMIA = Path(sys.executable).with_name("eunomia")


@pytest.fixture
def started(until, is_attached):
    """Start the command, and wait until its programs are attached, or loaded."""
    commands = []

    def start(*arguments, loaded=False):
        command = subprocess.Popen(
            [EUNOMIA, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "EUNOMIA_CRI_SOCKET": str(CONTAINERD_SOCKET)},
        )
        commands.append(command)

        def is_ready():
            assert command.poll() is None, command.communicate()
            return holds_programs(command.pid) if loaded else is_attached(command.pid)

        until(is_ready, 30, "its programs are there")
        return command

    yield start
    for command in commands:
        if command.poll() is None:
            command.kill()
        command.communicate()


def holds_programs(pid):
    fds = Path(f"/proc/{pid}/fd").iterdir()
    return any(os.path.realpath(fd).endswith(PROGRAM) for fd in fds)


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
    # Nothing is attached while there is no such pod.
    command = started("run", "-f", str(path), "--fmt", "json", loaded=True)

    cluster.pod(namespace, "late", labels={"app": "late"})
    cluster.pod(namespace, "stranger")
    cluster.generate(namespace, "late", "opens", "500", "/tmp/late")
    cluster.generate(namespace, "stranger", "opens", "500", "/tmp/late")

    rows, last = ended(command)
    assert [row["path"] for row in rows] == [f"/tmp/late-{i}" for i in range(500)]
    assert {row["pod"] for row in rows} == {"late"}
    assert last.startswith("500 events, 0 lost, 0 limited")
