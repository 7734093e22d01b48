# SPDX-License-Identifier: Apache-2.0
"""What a pod did is what its rows say, one by one; what is missing is counted."""

PLENTY = {"eventsPerSecondPerNode": 10_000_000}


def settled(counts):
    """The identity: no event is anywhere else."""
    return counts["matched"] == sum(
        counts[name] for name in ("delivered", "lost", "limited", "sampledOut")
    )


def test_every_open_arrives_once_when_nothing_presses(cluster, namespace):
    cluster.pod(namespace, "maker")
    job = cluster.trace(namespace, "opens", {"opensnoop": {"prefix": "/tmp/exact-"}}, budget=PLENTY)
    job.wait("Running")

    made = cluster.generate(namespace, "maker", "opens", "5000", "/tmp/exact")

    counts = job.events(lambda counts: counts["matched"] >= 5000 and settled(counts))
    assert made["done"] == 5000
    assert counts == {
        "matched": 5000,
        "delivered": 5000,
        "lost": 0,
        "limited": 0,
        "sampledOut": 0,
        "unclassified": 0,
    }
    assert job.status()["completenessPercent"] == 100
    rows = job.rows()
    assert [row["path"] for row in rows] == [f"/tmp/exact-{i}" for i in range(5000)]
    assert {(row["namespace"], row["pod"], row["container"]) for row in rows} == {
        (namespace, "maker", "main")
    }


def test_every_exec_arrives_with_its_exit(cluster, namespace, until):
    cluster.pod(namespace, "maker")
    job = cluster.trace(namespace, "execs", {"process": {}}, budget=PLENTY)
    job.wait("Running")

    cluster.generate(namespace, "maker", "execs", "500", "exact-marker")

    def marked():
        execs = [row for row in job.rows() if "exact-marker" in str(row.get("args", ""))]
        return execs if len(execs) >= 501 else None

    # The generator itself has the marker among its arguments, too.
    execs = until(marked, 20, "500 execs and the generator's own")
    assert len(execs) == 501
    counts = job.events(lambda counts: settled(counts) and counts["matched"] >= 1002)
    assert (counts["lost"], counts["limited"]) == (0, 0)
    exits = {row["pid"]: row for row in job.rows() if row["kind"] == "exit"}
    assert {row["pid"] for row in execs} <= exits.keys()
    assert {exits[row["pid"]]["exit_code"] for row in execs} == {0}


def test_a_buffer_that_is_too_small_loses_but_never_in_silence(cluster, namespace):
    cluster.pod(namespace, "maker")
    job = cluster.trace(
        namespace,
        "pressed",
        {"opensnoop": {"prefix": "/tmp/press-"}},
        budget={**PLENTY, "memoryBytesPerNode": 65_536},
    )
    job.wait("Running")

    cluster.generate(namespace, "maker", "opens", "200000", "/tmp/press")

    counts = job.events(lambda counts: counts["matched"] >= 200_000 and settled(counts))
    assert counts["matched"] == 200_000
    assert counts["lost"] > 0
    assert counts["delivered"] == len(job.rows())
    percent = 100 * counts["delivered"] // counts["matched"]
    assert job.status()["completenessPercent"] == percent


def test_what_is_above_the_budget_is_counted_as_limited(cluster, namespace):
    cluster.pod(namespace, "maker")
    job = cluster.trace(
        namespace,
        "limited",
        {"opensnoop": {"prefix": "/tmp/limit-"}},
        budget={"eventsPerSecondPerNode": 100},
    )
    job.wait("Running")

    cluster.generate(namespace, "maker", "opens", "3000", "/tmp/limit")

    counts = job.events(lambda counts: counts["matched"] >= 3000 and settled(counts))
    assert counts["matched"] == 3000
    assert counts["limited"] > 2000
    assert counts["lost"] == 0
    assert counts["delivered"] == len(job.rows())
