# SPDX-License-Identifier: Apache-2.0
"""The local cluster with Eunomia on it, and a namespace of the benchmark's own."""

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import process
from bench.errors import BenchError
from dev.cluster import cluster, layout
from dev.command import environment
from dev.errors import DevError
from dev.folders import PROJECT

SYSTEM = "eunomia-system"
STATE = Path("/var/lib/eunomia")
"""The agent's folder on this node: this machine."""
OVERLAY = "manifests/overlays/local"
WORKLOADS = ("deployment/eunomia-operator", "daemonset/eunomia-agent")
LEASE = "eunomia-operator"
Resource = dict[str, Any]


class Cluster:
    """kubectl against the local cluster, in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """Run kubectl; return what it prints. Raises BenchError with what it complained of."""
        ended = subprocess.run(
            [layout.BIN / "kubectl", *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment({"KUBECONFIG": str(layout.KUBECONFIG)}),
            cwd=PROJECT,
            check=False,
        )
        if ended.returncode:
            raise BenchError(f"kubectl {' '.join(arguments[:4])} …: {ended.stderr.strip()}")
        return ended.stdout

    def get(self, *arguments: str) -> Resource:
        """Return an object, or a list of them."""
        found: Resource = json.loads(self.kubectl("get", "-o", "json", *arguments))
        return found

    def pod(self, name: str, *command: str) -> None:
        """Run a command of the workload image in a pod, and wait until it is up."""
        container = {
            "name": "main",
            "image": "localhost/eunomia-workload:dev",
            "imagePullPolicy": "Never",
            "command": ["generator", *command],
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "restartPolicy": "Never",
                "containers": [container],
            },
        }
        self.kubectl("apply", "-f", "-", text=json.dumps(manifest))
        ready = ("wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}")
        self.kubectl("-n", self.namespace, *ready)

    def job(self, name: str, pod: str, *trackers: str) -> str:
        """Return the manifest of a TraceJob on one of the pods, rows going to files."""
        manifest = {
            "apiVersion": "eunomia.dev/v1alpha1",
            "kind": "TraceJob",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "target": {"podSelector": {"matchLabels": {"app": pod}}},
                "trackers": [{"name": tracker} for tracker in trackers],
                "output": [{"type": "file"}],
            },
        }
        return json.dumps(manifest)

    def agent(self) -> int:
        """Return the pid of the agent, on the node."""
        pods = self.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=agent")
        uids = [
            pod["metadata"]["uid"]
            for pod in pods["items"]
            if "deletionTimestamp" not in pod["metadata"]
        ]
        if len(uids) != 1:
            raise BenchError(f"there are {len(uids)} agents, not one")
        return process.of_pod(uids[0], "eunomia_agent")

    def leader(self) -> int:
        """Return the pid of the operator that leads, on the node."""
        holder = self.get("-n", SYSTEM, "lease", LEASE)["spec"].get("holderIdentity") or ""
        for pod in self.get("-n", SYSTEM, "pods")["items"]:
            if pod["metadata"]["name"] and holder.startswith(pod["metadata"]["name"]):
                return process.of_pod(pod["metadata"]["uid"], "eunomia_operator")
        raise BenchError(f'the lease is held by "{holder}", which is no pod here')


@contextmanager
def running(*, as_installed: bool = False) -> Generator[Cluster]:
    """Bring the cluster up with what the tree holds, lend a namespace, and leave it as found.

    as_installed: measure what is on the cluster, where it is up and Eunomia on it. Raises
    BenchError where it cannot be brought up.
    """
    try:
        was_up = cluster.complete()
    except DevError as error:
        raise BenchError(str(error)) from error
    lent = Cluster(f"bench-{secrets.token_hex(4)}")
    had_state = STATE.exists()
    try:
        if not was_up:
            _tool("dev.cluster", "up")
        was_installed = was_up and _is_installed(lent)
        if not (was_installed and as_installed):
            _install(lent, again=was_installed)
        lent.kubectl("create", "namespace", lent.namespace)
        try:
            yield lent
        finally:
            lent.kubectl("delete", "namespace", lent.namespace, "--timeout=120s")
            shutil.rmtree(STATE / "jobs" / lent.namespace, ignore_errors=True)
            if was_up and not was_installed and not _jobs(lent):
                lent.kubectl("delete", "-k", OVERLAY)
                lent.kubectl("delete", "-k", "crds")
    finally:
        if not was_up:
            _tool("dev.cluster", "down")
            if not had_state:
                shutil.rmtree(STATE, ignore_errors=True)


def _is_installed(lent: Cluster) -> bool:
    return bool(lent.kubectl("get", "namespace", SYSTEM, "--ignore-not-found"))


def _jobs(lent: Cluster) -> list[Resource]:
    """Return the jobs of others, who have begun to use what was installed here."""
    jobs: list[Resource] = lent.get("tracejobs,clustertracejobs", "--all-namespaces")["items"]
    return jobs


def _install(lent: Cluster, *, again: bool) -> None:
    """Put Eunomia on the cluster; pods of an older image are replaced."""
    _tool("dev.image", "load")
    lent.kubectl("apply", "--server-side", "-k", "crds")
    lent.kubectl("apply", "-k", OVERLAY)
    if again:
        lent.kubectl("-n", SYSTEM, "rollout", "restart", *WORKLOADS)
    for workload in WORKLOADS:
        lent.kubectl("-n", SYSTEM, "rollout", "status", "--timeout=180s", workload)


def _tool(module: str, *arguments: str) -> None:
    """Run one of the tools of dev/, its progress shown on stderr."""
    command = [sys.executable, "-m", module, *arguments]
    if subprocess.run(command, cwd=PROJECT, stdout=sys.stderr, check=False).returncode:
        raise BenchError(f"python -m {module} {' '.join(arguments)} did not succeed")
