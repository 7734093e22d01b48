# SPDX-License-Identifier: Apache-2.0
"""Every row says whose it is, and a job sees nobody else's."""

import secrets

import pytest

PLENTY = {"eventsPerSecondPerNode": 10_000_000}


@pytest.fixture
def neighbour(kubectl):
    name = f"test-neighbour-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def loaded(job, until):
    """The node has taken up the job, and waits for a pod."""
    until(lambda: job.status().get("nodes", {}).get("waiting") == 1, 20, "the node waits")


def test_a_pod_that_starts_later_is_seen_from_its_first_instruction(cluster, namespace, until):
    job = cluster.trace(namespace, "later", {"opensnoop": {"prefix": "/tmp/late-"}}, budget=PLENTY)
    loaded(job, until)

    cluster.pod(namespace, "late", "generator", "opens", "1000", "/tmp/late", ready=False)

    counts = job.events(lambda counts: counts["delivered"] >= 1000)
    assert (counts["matched"], counts["unclassified"]) == (1000, 0)
    rows = job.rows()
    assert [row["path"] for row in rows] == [f"/tmp/late-{i}" for i in range(1000)]
    assert {(row["namespace"], row["pod"], row["container"]) for row in rows} == {
        (namespace, "late", "main")
    }


def test_a_pod_whose_only_process_ends_at_once_has_all_of_its_events(cluster, namespace, until):
    job = cluster.trace(namespace, "blink", {"process": {}}, budget=PLENTY)
    loaded(job, until)

    cluster.pod(namespace, "blink", "/bin/true", ready=False)

    def of_true():
        # Processes of the runtime that start the container end in its cgroup, too.
        rows = [row for row in job.rows() if row.get("pod") == "blink"]
        pids = {row["pid"] for row in rows if row["filename"] == "/bin/true"}
        found = [row for row in rows if row["pid"] in pids and row["kind"] == "exit"]
        return [row for row in rows if row["pid"] in pids] if found else None

    rows = until(of_true, 30, "/bin/true has begun and ended")
    execs = [row for row in rows if row["filename"] == "/bin/true"]
    exits = [row for row in rows if row["kind"] == "exit"]
    assert len(execs) == 1
    assert (execs[0]["namespace"], execs[0]["container"]) == (namespace, "main")
    assert [(row["pid"], row["exit_code"]) for row in exits] == [(execs[0]["pid"], 0)]


def test_the_same_labels_in_another_namespace_are_no_concern_of_a_tracejob(
    cluster, namespace, neighbour
):
    for place in (namespace, neighbour):
        cluster.pod(place, "maker", labels={"app": "same"})
    job = cluster.trace(
        namespace,
        "own",
        {"opensnoop": {"prefix": "/tmp/own-"}},
        target={"podSelector": {"matchLabels": {"app": "same"}}},
        budget=PLENTY,
    )
    job.wait("Running")

    cluster.generate(neighbour, "maker", "opens", "300", "/tmp/own")
    cluster.generate(namespace, "maker", "opens", "200", "/tmp/own")
    cluster.generate(neighbour, "maker", "opens", "300", "/tmp/own")

    counts = job.events(lambda counts: counts["delivered"] >= 200)
    assert (counts["matched"], counts["unclassified"]) == (200, 0)
    assert {row["namespace"] for row in job.rows()} == {namespace}
    assert job.status()["pods"] == 1


def test_a_clustertracejob_picks_namespaces_by_their_labels(cluster, kubectl, namespace, neighbour):
    kubectl("label", "namespace", neighbour, "traced=yes")
    for place in (namespace, neighbour):
        cluster.pod(place, "maker")
    name = f"by-label-{secrets.token_hex(4)}"
    job = cluster.trace(
        "",
        name,
        {"opensnoop": {"prefix": "/tmp/wide-"}},
        target={"podSelector": {}, "namespaceSelector": {"matchLabels": {"traced": "yes"}}},
        budget=PLENTY,
    )
    try:
        job.wait("Running")
        cluster.generate(namespace, "maker", "opens", "300", "/tmp/wide")
        cluster.generate(neighbour, "maker", "opens", "200", "/tmp/wide")

        counts = job.events(lambda counts: counts["delivered"] >= 200)
        assert counts["matched"] == 200
        assert {row["namespace"] for row in job.rows()} == {neighbour}
    finally:
        job.delete()
