# SPDX-License-Identifier: Apache-2.0
"""However a job ends, nothing of it stays in the kernel."""

import time
from datetime import datetime

import pytest

from dev import kernel

GONE_SECONDS = 2.0


def objects():
    return kernel.programs() | kernel.maps()


@pytest.fixture
def before(kubectl, until):
    """BPF objects in the kernel while there is no job, other tests' included."""

    def quiet():
        jobs = kubectl.get("tracejobs,clustertracejobs", "-A")["items"]
        if any(job.get("status", {}).get("phase") not in ("Complete", "Failed") for job in jobs):
            return None
        first = objects()
        time.sleep(1)
        return {"objects": first} if first == objects() else None

    return until(quiet, 60, "all other tests' jobs are over")["objects"]


def gone(before, until):
    until(lambda: not objects() - before, GONE_SECONDS, f"gone: {objects() - before}")


@pytest.fixture
def running(cluster, namespace):
    """Start jobs that run; they are gone when the test has ended, before their namespace is."""
    jobs = []

    def start(name, trackers=("opensnoop", "process"), **spec):
        params = {"opensnoop": {"prefix": "/tmp/end-"}, "process": {}}
        its = {tracker: params[tracker] for tracker in trackers}
        jobs.append(cluster.trace(namespace, name, its, **spec))
        jobs[-1].wait("Running")
        return jobs[-1]

    yield start
    for job in jobs:
        job.delete()


def test_at_its_deadline(cluster, namespace, before, running, until):
    cluster.pod(namespace, "maker")
    job = running("short", duration="5s")
    assert kernel.programs() - before

    cluster.generate(namespace, "maker", "opens", "100", "/tmp/end")

    deadline = datetime.fromisoformat(job.status()["deadline"]).timestamp()
    until(lambda: time.time() >= deadline, 10, "the deadline")
    gone(before, until)
    complete = job.wait("Complete", 10)
    status = job.status()
    assert complete["reason"]
    assert status["phase"] == "Complete"
    assert status["completionTime"] >= status["deadline"]
    assert job.condition("Running")["status"] == "False"
    assert status["events"]["matched"] >= 100
    assert status["nodes"]["desired"] == 1


def test_at_its_deadline_while_there_is_no_operator(
    cluster, namespace, kubectl, before, running, until
):
    cluster.pod(namespace, "maker")
    job = running("orphan", duration="12s")
    cluster.generate(namespace, "maker", "opens", "100", "/tmp/end")
    scale = ("-n", "eunomia-system", "scale", "deployment/eunomia-operator")
    try:
        kubectl(*scale, "--replicas=0")
        deadline = datetime.fromisoformat(job.status()["deadline"]).timestamp()
        assert time.time() < deadline, "the operator took too long to go"
        assert kernel.programs() - before
        until(lambda: time.time() >= deadline, 15, "the deadline")
        gone(before, until)
        assert job.status()["phase"] == "Running"
    finally:
        kubectl(*scale, "--replicas=2")
        rollout = ("rollout", "status", "--timeout=60s", "deployment/eunomia-operator")
        kubectl("-n", "eunomia-system", *rollout)
    job.wait("Complete", 40)
    assert job.events(lambda counts: counts["matched"] >= 100)


def test_when_it_is_deleted(cluster, namespace, before, running, until):
    cluster.pod(namespace, "maker")
    job = running("deleted")
    assert kernel.programs() - before

    job.delete()

    gone(before, until)


def test_while_it_is_suspended_and_its_counts_stay(cluster, namespace, before, running, until):
    cluster.pod(namespace, "maker")
    job = running("paused", ["opensnoop"], duration="60s")
    started = job.status()["startTime"]
    cluster.generate(namespace, "maker", "opens", "100", "/tmp/end")
    job.events(lambda counts: counts["delivered"] == 100)

    job.patch({"suspend": True})

    until(lambda: job.status()["phase"] == "Suspended", 5, "Suspended")
    gone(before, until)
    cluster.generate(namespace, "maker", "opens", "100", "/tmp/end")
    assert job.condition("Running")["status"] == "False"

    job.patch({"suspend": False})

    job.wait("Running")
    cluster.generate(namespace, "maker", "opens", "50", "/tmp/end")
    counts = job.events(lambda counts: counts["delivered"] >= 150)
    assert (counts["matched"], counts["delivered"]) == (150, 150)
    assert job.status()["startTime"] > started, "resuming starts the clock anew"


def test_with_a_ttl_the_job_itself_goes_too(cluster, namespace, kubectl, before, running, until):
    cluster.pod(namespace, "maker")
    job = running("brief", duration="3s", ttlSecondsAfterFinished=1)

    until(lambda: kubectl.run("get", *job.reference).returncode != 0, 20, "deleted by its ttl")
    gone(before, until)
