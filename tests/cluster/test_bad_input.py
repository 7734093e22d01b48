# SPDX-License-Identifier: Apache-2.0
"""What makes no sense is refused with the field and what it may be; nobody else notices."""

import json

import pytest

GOOD = {"target": {"podSelector": {}}, "trackers": [{"name": "opensnoop"}]}


def tracejob(namespace, name, spec):
    return {
        "apiVersion": "eunomia.dev/v1alpha1",
        "kind": "TraceJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def requirement(**parts):
    return {"podSelector": {"matchExpressions": [{"key": "app", **parts}]}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trackers": []}, ["spec.trackers", "at least 1"]),
        ({"trackers": [{"name": "opensnoop"}] * 2}, ["spec.trackers", "Duplicate"]),
        ({"target": {}}, ["spec.target.podSelector", "Required"]),
        ({"target": requirement(operator="Near", values=["x"])}, ["operator", "NotIn"]),
        ({"target": requirement(operator="In")}, ["matchExpressions", "need values"]),
        ({"duration": "169h"}, ["spec.duration", "168h"]),
        ({"duration": "0s"}, ["spec.duration", "more than 0s"]),
        ({"duration": "soon"}, ["spec.duration"]),
        ({"output": [{"type": "paper"}]}, ["spec.output[0].type", "file"]),
        ({"budget": {"eventsPerSecondPerNode": 0}}, ["eventsPerSecondPerNode", "1"]),
        ({"trackers": "opensnoop"}, ["spec.trackers", "array"]),
        ({"ttlSecondsAfterFinished": -1}, ["ttlSecondsAfterFinished", "0"]),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_what_the_schema_can_tell_is_refused_at_apply(kubectl, namespace, change, says):
    complaint = kubectl.refused(
        "create", "-f", "-", text=json.dumps(tracejob(namespace, "bad", GOOD | change))
    )
    assert all(word in complaint for word in says), complaint


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": {"podSelector": {"matchLabels": {"app": "other"}}}}, "target is immutable"),
        ({"trackers": [{"name": "process"}]}, "names of trackers are immutable"),
        ({"duration": "30s"}, "duration is immutable"),
        ({"output": [{"type": "file"}]}, "output is immutable"),
    ],
    ids=["target", "trackers", "duration", "output"],
)
def test_what_is_immutable_stays(cluster, kubectl, namespace, change, says):
    kubectl.apply(tracejob(namespace, "fixed", GOOD))
    patch = ("patch", "tracejob", "fixed", "--type=merge", "-p", json.dumps({"spec": change}))
    assert says in kubectl.refused("-n", namespace, *patch)


@pytest.mark.parametrize(
    ("trackers", "says"),
    [
        ({"opensnop": {}}, ["spec.trackers[0].name", "opensnop", "opensnoop"]),
        ({"process": {}, "opensnoop": {"prefx": "/etc"}}, ["params.prefx", "prefix"]),
        ({"process": {"maxArgs": 10**9}}, ["spec.trackers[0].params.maxArgs"]),
        ({"process": {"maxArgs": -1}}, ["spec.trackers[0].params.maxArgs"]),
        ({"opensnoop": {"failedOnly": "yes"}}, ["spec.trackers[0].params.failedOnly", "true"]),
        ({"opensnoop": {"prefix": 7}}, ["spec.trackers[0].params.prefix"]),
        ({"opensnoop": {"prefix": ["/etc"]}}, ["spec.trackers[0].params.prefix"]),
        ({"opensnoop": {"prefix": "/" * 2000}}, ["spec.trackers[0].params.prefix"]),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_what_only_the_catalogue_can_tell_is_not_accepted(cluster, namespace, trackers, says):
    job = cluster.trace(namespace, "refused", trackers)

    refused = job.wait("Accepted", holds=False)

    assert all(word in refused["message"] for word in says), refused
    assert len(refused["message"]) < 2000
    assert job.status()["phase"] == "Failed"
    assert job.condition("Failed")["reason"] == "NotAccepted"


def test_an_edit_is_judged_anew(cluster, namespace):
    cluster.pod(namespace, "maker")
    job = cluster.trace(namespace, "mended", {"process": {"maxArgs": 10**9}})
    job.wait("Accepted", holds=False)

    job.patch({"trackers": [{"name": "process", "params": {"maxArgs": 100}}]})

    job.wait("Running")
    assert job.condition("Failed").get("status") != "True"


def test_a_job_with_300_kb_of_labels_works_and_nobody_notices(cluster, kubectl, namespace):
    cluster.pod(namespace, "maker")
    witness = cluster.trace(namespace, "witness", {"opensnoop": {"prefix": "/tmp/heavy-"}})
    witness.wait("Running")
    heavy = tracejob(namespace, "heavy", GOOD)
    heavy["metadata"]["labels"] = {f"{'label':0<50}{i:04}": "x" * 60 for i in range(2700)}
    assert len(json.dumps(heavy)) > 300_000
    kubectl.apply(heavy)
    cluster.trace(namespace, "hopeless", {"nothing": {}}).wait("Accepted", holds=False)

    wait = ("wait", "--for=condition=Running", "--timeout=30s", "tracejob/heavy")
    kubectl("-n", namespace, *wait)
    cluster.generate(namespace, "maker", "opens", "100", "/tmp/heavy")

    counts = witness.events(lambda counts: counts["delivered"] >= 100)
    status = witness.status()
    assert (counts["matched"], counts["lost"], status.get("gaps", 0)) == (100, 0, 0)
    assert status["phase"] == "Running"
