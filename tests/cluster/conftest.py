# SPDX-License-Identifier: Apache-2.0
"""The real cluster, with Eunomia on it, and a story-teller's words for it.

The cluster is brought up if need be, and left as it was found.
"""

import json
import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
SHOP = EXAMPLES / "01-opens-and-execs/workload.yaml"
STATE = Path("/var/lib/eunomia-dev/agent")
SYSTEM = "eunomia-system"
NODE = "eunomia-dev"
Resource = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in mine:
        item.add_marker(pytest.mark.cluster)
        # The first one waits for the cluster, which on a fresh machine is built first.
        item.add_marker(pytest.mark.timeout(180, func_only=True))
    # The cluster is there until the last test has ended, and takes its share of the machine: these
    # are the last.
    items.sort(key=mine.__contains__)


class Kubectl:
    """kubectl, against the local cluster."""

    def __init__(self) -> None:
        from dev.cluster import layout
        from dev.command import environment

        self.path = str(layout.BIN / "kubectl")
        self.environment = environment({"KUBECONFIG": str(layout.KUBECONFIG)})

    def run(self, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run it, whatever comes of it."""
        return subprocess.run(
            [self.path, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            env=self.environment,
            cwd=PROJECT,
            check=False,
        )

    def __call__(self, *arguments: str, text: str = "") -> str:
        """Give what it prints; it must succeed."""
        ended = self.run(*arguments, text=text)
        assert ended.returncode == 0, f"kubectl {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout

    def refused(self, *arguments: str, text: str = "") -> str:
        """Give what it complains of; it must fail."""
        ended = self.run(*arguments, text=text)
        assert ended.returncode != 0, f"kubectl {' '.join(arguments)} succeeded: {ended.stdout}"
        return ended.stderr

    def get(self, *arguments: str) -> Resource:
        """Give an object, or a list of them."""
        found: Resource = json.loads(self("get", "--output=json", *arguments))
        return found

    def apply(self, resource: Resource) -> None:
        """Make an object be."""
        self("apply", "--server-side", "-f", "-", text=json.dumps(resource))


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask again and again, and give the first answer that is true; fail when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@dataclass
class Job:
    """A TraceJob, or without a namespace a ClusterTraceJob, on the cluster."""

    kubectl: Kubectl
    namespace: str
    name: str

    @property
    def reference(self) -> tuple[str, ...]:
        """How kubectl is told of it."""
        if self.namespace:
            return ("-n", self.namespace, f"tracejob/{self.name}")
        return (f"clustertracejob/{self.name}",)

    def status(self) -> Resource:
        """Its status now; empty while it has none."""
        status: Resource = self.kubectl.get(*self.reference).get("status", {})
        return status

    def condition(self, kind: str) -> Resource:
        """One of its conditions; empty while it has none of that type."""
        found = [each for each in self.status().get("conditions", []) if each["type"] == kind]
        return found[0] if found else {}

    def wait(self, kind: str, seconds: float = 30, *, holds: bool = True) -> Resource:
        """Wait until a condition holds, or does not, and give it."""
        wanted = "True" if holds else "False"

        def found() -> Resource | None:
            condition = self.condition(kind)
            return condition if condition.get("status") == wanted else None

        return until(found, seconds, f"{kind}={wanted} of {self.name}, status {self.status()}")

    def events(self, holds: Callable[[Resource], bool], seconds: float = 20) -> Resource:
        """Wait until its counts are as wanted, and give them."""

        def found() -> Resource | None:
            counts = self.status().get("events", {})
            return counts if counts and holds(counts) else None

        return until(found, seconds, f"counts of {self.name}, status {self.status()}")

    def patch(self, spec: Resource) -> None:
        """Change its spec."""
        self.kubectl("patch", *self.reference, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self) -> None:
        """Delete it, and wait until it is gone."""
        self.kubectl("delete", "--ignore-not-found", *self.reference)

    def rows(self) -> list[Resource]:
        """Rows in its files on the node, rotated ones included."""
        folder = f"{self.namespace or '_cluster'}/{self.name}"
        return [
            json.loads(line)
            for file in sorted(STATE.glob(f"**/{folder}/*.jsonl*"))
            for line in file.read_text().splitlines()
        ]


@dataclass
class Cluster:
    """The cluster, with Eunomia on it."""

    kubectl: Kubectl

    def trace(
        self,
        namespace: str,
        name: str,
        trackers: dict[str, Resource],
        *,
        target: Resource | None = None,
        **spec: Any,
    ) -> Job:
        """Create a TraceJob (in no namespace: a ClusterTraceJob) that writes files."""
        kind = "TraceJob" if namespace else "ClusterTraceJob"
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        self.kubectl.apply(
            {
                "apiVersion": "eunomia.dev/v1alpha1",
                "kind": kind,
                "metadata": metadata,
                "spec": {
                    "target": target or {"podSelector": {}},
                    "trackers": [
                        {"name": tracker, **({"params": params} if params else {})}
                        for tracker, params in trackers.items()
                    ],
                    "output": [{"type": "file"}],
                    **spec,
                },
            }
        )
        return self.job(namespace, name)

    def job(self, namespace: str, name: str) -> Job:
        """Give a job that there is."""
        return Job(self.kubectl, namespace, name)

    def pod(
        self,
        namespace: str,
        name: str,
        *command: str,
        labels: dict[str, str] | None = None,
        account: str = "default",
        node: str = "",
        ready: bool = True,
        **spec: Any,
    ) -> None:
        """Create a pod of the workload image that runs a command (none: it sleeps).

        spec: of the pod, beside its container.
        """
        self.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "restartPolicy": "Never",
                    "serviceAccountName": account,
                    **({"nodeName": node} if node else {}),
                    **spec,
                    "containers": [
                        {
                            "name": "main",
                            "image": "localhost/eunomia-workload:dev",
                            "imagePullPolicy": "Never",
                            "command": list(command or ("generator", "sleep", "3600")),
                        }
                    ],
                },
            }
        )
        if ready:
            wait = ("wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}")
            self.kubectl("-n", namespace, *wait)

    def generate(self, namespace: str, pod: str, *arguments: str) -> Resource:
        """Run the generator in a pod, and give its account of what it did."""
        text = self.kubectl("-n", namespace, "exec", pod, "--", "generator", *arguments)
        account: Resource = json.loads(text.splitlines()[-1])
        return account

    def leader(self) -> str:
        """Name of the operator's pod that leads; waits for one."""

        def holder() -> str:
            lease = self.kubectl.get("-n", SYSTEM, "lease", "eunomia-operator")
            return str(lease["spec"].get("holderIdentity") or "")

        leader: str = until(holder, 30, "one leads")
        return leader

    def agent(self) -> str:
        """Name of the agent's pod."""
        pods = self.kubectl.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=agent")
        (name,) = [
            pod["metadata"]["name"]
            for pod in pods["items"]
            if "deletionTimestamp" not in pod["metadata"] and pod["spec"].get("nodeName") == NODE
        ]
        assert isinstance(name, str)
        return name

    def processes(self, pod: str) -> list[int]:
        """Pids on the node of a pod's containers in eunomia-system, the sandbox left out."""
        uid = self.kubectl.get("-n", SYSTEM, "pod", pod)["metadata"]["uid"]
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                inside = f"pod{uid}" in (folder / "cgroup").read_text()
                arguments = (folder / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if inside and b"eunomia_" in arguments:
                found.append(int(folder.name))
        return found

    def agent_log(self) -> str:
        """What the agent wrote, rows and log alike."""
        return self.kubectl("-n", SYSTEM, "logs", "daemonset/eunomia-agent")

    def logged(self, job: str) -> Iterator[Resource]:
        """Rows of a job, NAMESPACE/NAME, in the agent's log."""
        for line in self.agent_log().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and row.get("job") == job:
                yield row

    def shell(self, namespace: str, pod: str, command: str) -> str:
        """Run a line of shell in a pod, and give what it prints."""
        return self.kubectl("-n", namespace, "exec", pod, "--", "/bin/sh", "-c", command)

    def metrics(self) -> dict[str, float]:
        """What the agent shows to Prometheus: value by name and labels, as they are written."""
        place = f"/api/v1/namespaces/{SYSTEM}/pods/{self.agent()}:9464/proxy/metrics"
        page = self.kubectl("get", "--raw", place)
        lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in lines}


class Tools:
    """The tools of dev/, with their progress shown although pytest captures output."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def __call__(self, module: str, *arguments: str) -> None:
        """Run one; it must succeed."""
        with self._capture.global_and_fixture_disabled():
            command = [sys.executable, "-m", module, *arguments]
            ended = subprocess.run(command, cwd=PROJECT, check=False)
        assert ended.returncode == 0, f"python -m {module} {' '.join(arguments)} failed: see above"


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    if platform.system() != "Linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux: a kubelet and BPF programs run on this machine")
    tool = Tools(pytestconfig)
    status = [sys.executable, "-m", "dev.cluster", "status"]
    was_up = subprocess.run(status, cwd=PROJECT, capture_output=True, check=False).returncode == 0
    try:
        tool("dev.cluster", "up")
        tool("dev.image", "build")
        tool("dev.image", "load")
        kubectl = Kubectl()
        was_installed = kubectl.run("get", "namespace", SYSTEM).returncode == 0
        install(kubectl, again=was_installed)
        yield Cluster(kubectl)
        if was_up and not was_installed:
            kubectl("delete", "-k", "manifests/overlays/local")
            kubectl("delete", "-k", "crds")
    finally:
        if not was_up:
            tool("dev.cluster", "down")


def install(kubectl: Kubectl, *, again: bool) -> None:
    """Put Eunomia on the cluster; pods of an older image are replaced."""
    kubectl("apply", "--server-side", "-k", "crds")
    kubectl("apply", "-k", "manifests/overlays/local")
    workloads = ("deployment/eunomia-operator", "daemonset/eunomia-agent")
    if again:
        kubectl("-n", SYSTEM, "rollout", "restart", *workloads)
    for workload in workloads:
        kubectl("-n", SYSTEM, "rollout", "status", "--timeout=180s", workload)


@pytest.fixture
def kubectl(cluster: Cluster) -> Kubectl:
    return cluster.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def examples() -> Path:
    return EXAMPLES


@pytest.fixture(scope="session")
def workload(cluster: Cluster) -> Iterator[None]:
    """The two pods of the namespace demo, which most examples look at."""
    with being(cluster.kubectl, SHOP):
        yield


@pytest.fixture(scope="session")
def applying(cluster: Cluster) -> Callable[[], AbstractContextManager[Callable[[str], None]]]:
    """Apply examples for as long as a block lasts: the pods that each brings, then its jobs."""

    @contextmanager
    def block() -> Iterator[Callable[[str], None]]:
        with ExitStack() as stack:

            def apply(example: str) -> None:
                files = set((EXAMPLES / example).glob("*.yaml")) - {SHOP}
                workloads = {file for file in files if file.name == "workload.yaml"}
                for file in (*workloads, *(files - workloads)):
                    stack.enter_context(being(cluster.kubectl, file))

            yield apply

    return block


@pytest.fixture
def applied(
    applying: Callable[[], AbstractContextManager[Callable[[str], None]]],
) -> Iterator[Callable[[str], None]]:
    """Apply an example; all of it goes at the end of the test."""
    with applying() as apply:
        yield apply


@pytest.fixture(scope="session")
def nowhere(cluster: Cluster) -> Iterator[Job]:
    """A job for nodes that are not there. It takes a minute to tell: who asks early has others wait
    for less.
    """
    target = {"podSelector": {}, "nodeSelector": {"no.such/label": "on-any-node"}}
    namespace = f"test-nowhere-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", namespace)
    yield cluster.trace(namespace, "nowhere", {"opensnoop": {}}, target=target)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@contextmanager
def being(kubectl: Kubectl, file: Path) -> Iterator[None]:
    """Let the objects of a manifest be for a while; pods are ready before it begins."""
    kubectl("apply", "-f", str(file))
    brings_pods = file.name == "workload.yaml"
    try:
        if brings_pods:
            namespace = next(yaml.safe_load_all(file.read_text()))["metadata"]["name"]
            kubectl(
                "-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", "pod", "--all"
            )
        yield
    finally:
        kubectl(
            "delete",
            "--ignore-not-found",
            "--wait=false" if brings_pods else "--wait",
            "-f",
            str(file),
        )


@pytest.fixture(name="until")
def until_fixture() -> Callable[[Callable[[], Any], float, str], Any]:
    return until
