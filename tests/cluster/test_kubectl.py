# SPDX-License-Identifier: Apache-2.0
"""All that a person needs to know is told by kubectl."""

import re

import pytest

pytestmark = pytest.mark.usefixtures("nowhere")  # its test is the last one here


def test_columns_wait_and_describe_of_a_job_that_completes(cluster, kubectl, namespace):
    cluster.pod(namespace, "maker")
    job = cluster.trace(
        namespace, "short", {"process": {}, "opensnoop": {"prefix": "/tmp/k-"}}, duration="5s"
    )
    job.wait("Running")
    cluster.generate(namespace, "maker", "opens", "20", "/tmp/k")

    wait = ("wait", "--for=condition=Complete", "--timeout=30s", "tracejob/short")
    assert "condition met" in kubectl("-n", namespace, *wait)

    header, row = kubectl("-n", namespace, "get", "tj").splitlines()
    columns = ["NAME", "PHASE", "TRACKERS", "PODS", "NODES", "EVENTS", "LOST", "COMPLETE%", "AGE"]
    assert header.split() == columns
    told = dict(zip(columns, re.split(r"\s{2,}", row.strip()), strict=True))
    assert told["PHASE"] == "Complete"
    assert set(told["TRACKERS"].split(",")) == {"process", "opensnoop"}
    assert (told["PODS"], told["NODES"], told["LOST"], told["COMPLETE%"]) == ("1", "1", "0", "100")
    assert int(told["EVENTS"]) >= 20
    assert "short" in kubectl("-n", namespace, "get", "eunomia")

    text = kubectl("-n", namespace, "describe", "tracejob", "short")
    events = text[text.index("\nEvents:") :]
    assert all(reason in events for reason in ("Accepted", "Started", "Complete"))
    assert "eunomia-operator" in events
    assert re.search(r"Type:\s+Complete", text)


def test_describe_of_a_job_that_is_not_accepted_says_why(cluster, kubectl, namespace):
    job = cluster.trace(namespace, "wrong", {"opensnop": {}})
    job.wait("Accepted", holds=False)

    text = kubectl("-n", namespace, "describe", "tracejob", "wrong")

    events = text[text.index("\nEvents:") :]
    assert "Warning" in events
    assert "NotAccepted" in events
    assert "spec.trackers[0].name" in events


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ('path.startsWith("/etc") && pth == "x"', 'at character 28: no column "pth"'),
        ('pid == "one"', "at character 5: == cannot compare an int with a string"),
        ("pid ==", "at character 7: it ends too early"),
        ("path.matches('(')", "at character 14: the pattern is not one of RE2"),
    ],
)
def test_describe_of_a_condition_that_cannot_be_meant_names_the_place(
    cluster, kubectl, namespace, where, says
):
    job = cluster.trace(namespace, "unclear", {"opensnoop": {}}, suspend=True)
    job.wait("Accepted")
    job.patch({"trackers": [{"name": "opensnoop", "where": where}]})
    refused = job.wait("Accepted", holds=False)

    assert refused["reason"] == "InvalidWhere"
    assert f"spec.trackers[0].where: {says}" in refused["message"]
    text = kubectl("-n", namespace, "describe", "tracejob", "unclear")
    assert f"spec.trackers[0].where: {says}" in text[text.index("\nEvents:") :]


def test_explain_tells_what_a_condition_is(cluster, kubectl):
    text = kubectl("explain", "tracejob.spec.trackers.where")
    assert "CEL" in text
    assert "columns" in text


@pytest.mark.parametrize("kind", ["tracejob", "clustertracejob"])
def test_explain_has_a_word_for_every_field(cluster, kubectl, kind):
    text = kubectl("explain", f"{kind}.spec", "--recursive")
    for field in ("target", "trackers", "duration", "suspend", "output", "budget"):
        assert re.search(rf"^\s+{field}\t", text, re.MULTILINE), text
    for path in ("spec", "spec.target", "spec.trackers", "spec.budget", "spec.output", "status"):
        told = kubectl("explain", f"{kind}.{path}")
        fields = told[told.index("FIELDS:") :]
        assert "<no description>" not in fields, fields


def test_a_pod_that_nobody_selects_leaves_the_job_pending_and_says_so(cluster, namespace, until):
    cluster.pod(namespace, "maker")
    target = {"podSelector": {"matchLabels": {"app": "nobody"}}}
    job = cluster.trace(namespace, "idle", {"opensnoop": {}}, target=target)

    until(lambda: job.status().get("nodes", {}).get("waiting") == 1, 20, "one node waits")
    status = job.status()
    assert (status["phase"], status.get("pods", 0)) == ("Pending", 0)


def test_a_job_for_nodes_that_are_not_there_does_not_wait_for_ever(nowhere):
    assert nowhere.wait("Failed", 90)["reason"] == "NoMatchingNode"
    assert nowhere.status()["phase"] == "Failed"
