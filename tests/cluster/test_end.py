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
        first = objects()
        time.sleep(1)
        return None if jobs else {"objects": first} if first == objects() else None

    return until(quiet, 60, "all other tests' jobs are gone")["objects"]


def gone(before, until):
    until(lambda: not objects() - before, GONE_SECONDS, f"gone: {objects() - before}")


def running(cluster, namespace, name, **spec):
    job = cluster.trace(
        namespace, name, {"opensnoop": {"prefix": "/tmp/end-"}, "process": {}}, **spec
    )
    job.wait("Running")
    return job


def test_at_its_deadline(cluster, namespace, before, until):
    cluster.pod(namespace, "maker")
    job = running(cluster, namespace, "short", duration="5s")
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


def test_at_its_deadline_while_there_is_no_operator(cluster, namespace, kubectl, before, until):
    cluster.pod(namespace, "maker")
    job = running(cluster, namespace, "orphan", duration="12s")
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


def test_when_it_is_deleted(cluster, namespace, before, until):
    cluster.pod(namespace, "maker")
    job = running(cluster, namespace, "deleted")
    assert kernel.programs() - before

    job.delete()

    gone(before, until)


def test_while_it_is_suspended_and_its_counts_stay(cluster, namespace, before, until):
    cluster.pod(namespace, "maker")
    job = cluster.trace(namespace, "paused", {"opensnoop": {"prefix": "/tmp/end-"}}, duration="60s")
    job.wait("Running")
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


def test_with_a_ttl_the_job_itself_goes_too(cluster, namespace, kubectl, before, until):
    cluster.pod(namespace, "maker")
    job = running(cluster, namespace, "brief", duration="3s", ttlSecondsAfterFinished=1)

    until(lambda: kubectl.run("get", *job.reference).returncode != 0, 20, "deleted by its ttl")
    gone(before, until)
