# SPDX-License-Identifier: Apache-2.0
"""Whatever is killed, tracing goes on, and counts neither go down nor count twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

PLENTY = {"eventsPerSecondPerNode": 10_000_000}
PROJECT = Path(__file__).resolve().parents[2]


def traced(cluster, namespace, name):
    cluster.pod(namespace, "maker")
    tracker = {"opensnoop": {"prefix": "/tmp/fault-"}}
    job = cluster.trace(namespace, name, tracker, budget=PLENTY)
    job.wait("Running")
    return job


def exactly(job, count, seconds=40):
    """All of them are delivered, once."""
    counts = job.events(lambda counts: counts["delivered"] >= count, seconds)
    assert (counts["matched"], counts["delivered"], counts["lost"]) == (count, count, 0)


def kill(cluster, pod):
    (pid,) = cluster.processes(pod)
    os.kill(pid, signal.SIGKILL)
    return pid


def restart(component):
    command = [sys.executable, "-m", "dev.cluster", "restart", component]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@contextmanager
def never_down(job):
    """Counts of the job, looked at all the while, only go up."""
    over = threading.Event()
    seen = [0]

    def look():
        while not over.wait(0.3):
            ended = job.kubectl.run("get", *job.reference, "-o=jsonpath={.status.events.matched}")
            if ended.returncode == 0:
                seen.append(int(ended.stdout or 0))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield
    finally:
        over.set()
        looker.join()
    assert seen == sorted(seen)


def test_an_agent_that_is_killed_resumes_and_the_gap_is_seen(cluster, namespace, until):
    job = traced(cluster, namespace, "agent-killed")
    cluster.generate(namespace, "maker", "opens", "1000", "/tmp/fault")
    exactly(job, 1000)

    with never_down(job):
        old = kill(cluster, cluster.agent())
        fresh = until(
            lambda: [pid for pid in cluster.processes(cluster.agent()) if pid != old],
            60,
            "the agent runs again",
        )
        assert fresh
        until(lambda: job.status().get("gaps", 0) == 1, 40, "the gap is seen")
        job.wait("Running", 40)
        until(lambda: job.status()["nodes"].get("running") == 1, 40, "the node runs it again")
        cluster.generate(namespace, "maker", "opens", "500", "/tmp/fault")
        exactly(job, 1500)


def test_an_agent_goes_on_while_the_leader_is_killed_and_another_leads_within_20_seconds(
    cluster, kubectl, namespace, until
):
    job = traced(cluster, namespace, "leader-killed")
    cluster.generate(namespace, "maker", "opens", "1000", "/tmp/fault")
    exactly(job, 1000)

    def lease():
        return kubectl.get("-n", "eunomia-system", "lease", "eunomia-operator")["spec"]

    old = cluster.leader()
    before = lease()["leaseTransitions"]

    def another():
        now = lease()
        return now["leaseTransitions"] > before or now["holderIdentity"] != old

    with never_down(job):
        killed = time.monotonic()
        kill(cluster, old)
        cluster.generate(namespace, "maker", "opens", "500", "/tmp/fault")
        until(another, 20, "another leads")
        assert time.monotonic() - killed < 20
        exactly(job, 1500, seconds=30)
        assert time.monotonic() - killed < 30
        cluster.generate(namespace, "maker", "opens", "250", "/tmp/fault")
        exactly(job, 1750)
    assert job.status().get("gaps", 0) == 0
    assert job.status()["phase"] == "Running"


def test_the_api_server_may_restart(cluster, namespace):
    job = traced(cluster, namespace, "no-api")
    cluster.generate(namespace, "maker", "opens", "300", "/tmp/fault")
    exactly(job, 300)

    with never_down(job):
        restart("kube-apiserver")
        cluster.generate(namespace, "maker", "opens", "300", "/tmp/fault")
        exactly(job, 600)
    assert job.status().get("gaps", 0) == 0

    late = cluster.trace(namespace, "after", {"opensnoop": {"prefix": "/tmp/fault-"}})
    late.wait("Running")
    late.delete()


def test_containerd_may_restart(cluster, namespace):
    job = traced(cluster, namespace, "no-runtime")
    cluster.generate(namespace, "maker", "opens", "300", "/tmp/fault")
    exactly(job, 300)

    restart("containerd")

    cluster.pod(namespace, "late", "generator", "opens", "300", "/tmp/fault", ready=False)
    exactly(job, 600, seconds=60)
    assert {row["pod"] for row in job.rows()} == {"maker", "late"}
    assert job.status().get("gaps", 0) == 0
