# SPDX-License-Identifier: Apache-2.0
"""Every example does what its README says."""

from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parent.glob("test_examples*.py")
LASTING = ("01-opens-and-execs", "02-whole-cluster", "04-where")
"""Those that run for a time of their own."""


def events(kubectl, *job):
    return kubectl.get(*job)["status"]["events"]


@pytest.fixture(scope="module")
def lasting(cluster, workload, applying, nowhere):
    """The examples that last begin together, and each is waited for by its own test."""
    with applying() as apply:
        for example in LASTING:
            apply(example)
        wait = ("wait", "--for=condition=Running", "--timeout=20s")
        for job in ("opens-and-execs", "secrets-and-orders"):
            cluster.kubectl("-n", "demo", *wait, f"tracejob/{job}")
        yield


def test_there_is_no_example_without_a_test(examples):
    tested = "".join(file.read_text() for file in TESTS)
    assert all(f'"{example.name}"' in tested for example in examples.iterdir())


def test_every_file_of_an_example_is_named_in_its_readme(examples):
    for example in examples.iterdir():
        readme = (example / "README.md").read_text()
        for file in example.glob("*.yaml"):
            assert file.name in readme
            assert list(yaml.safe_load_all(file.read_text()))


def complete(kubectl, *job):
    kubectl("wait", "--for=condition=Complete", "--timeout=60s", *job)


def test_suspend_and_budget(kubectl, applied, lasting, until):
    job = ("-n", "demo", "tracejob/little-by-little")
    applied("03-suspend-and-budget")
    running = ("-n", "demo", "wait", "--for=condition=Running", "--timeout=20s", job[2])
    kubectl(*running)
    until(lambda: events(kubectl, *job)["matched"] > 20, 30, "events of the reader")
    patch = ("-n", "demo", "patch", job[2], "--type=merge", "-p")
    suspended = "--for=jsonpath={.status.phase}=Suspended"

    kubectl(*patch, '{"spec":{"suspend":true}}')
    kubectl("-n", "demo", "wait", suspended, "--timeout=30s", job[2])
    kept = events(kubectl, *job)["matched"]

    kubectl(*patch, '{"spec":{"suspend":false}}')
    kubectl(*running)
    until(lambda: events(kubectl, *job)["matched"] > kept, 30, "more events of the reader")


def test_opens_and_execs(cluster, kubectl, lasting):
    complete(kubectl, "-n", "demo", "tracejob/opens-and-execs")
    found = list(cluster.logged("demo/opens-and-execs"))
    assert {(row["pod"], row["container"], row["tracker"]) for row in found} == {
        ("reader", "cat", "process"),
        ("reader", "cat", "opensnoop"),
        ("worker", "shell", "process"),
        ("worker", "shell", "opensnoop"),
    }
    missing = [row for row in found if row.get("path") == "/etc/secret-of-the-shop"]
    assert len(missing) >= 20
    assert {row["error"] for row in missing} == {"ENOENT"}
    assert len([row for row in found if row.get("path") == "/tmp/last-order"]) >= 20


def test_whole_cluster(cluster, kubectl, lasting):
    complete(kubectl, "clustertracejob/failed-opens")
    found = list(cluster.logged("failed-opens"))
    secret = [row for row in found if row["path"] == "/etc/secret-of-the-shop"]
    assert len(secret) >= 10
    assert {(row["namespace"], row["pod"]) for row in secret} == {("demo", "reader")}
    assert {row["namespace"] for row in found} <= {"demo", ""}
    assert not any(row["error"] in ("", None, 0) for row in found)


def test_where(cluster, kubectl, lasting):
    job = ("-n", "demo", "tracejob/secrets-and-orders")
    complete(kubectl, *job)
    found = list(cluster.logged("demo/secrets-and-orders"))
    opens = [row for row in found if row["tracker"] == "opensnoop"]
    orders = [row for row in found if row["tracker"] == "process"]
    assert len(opens) >= 10
    assert {(row["path"], row["error"]) for row in opens} == {("/etc/secret-of-the-shop", "ENOENT")}
    assert len(orders) >= 10
    assert {(row["pod"], row["kind"], row["filename"]) for row in orders} == {
        ("worker", "exec", "/bin/true")
    }
    counts = kubectl.get(*job)["status"]["events"]
    assert counts["matched"] == counts["delivered"] == len(found)


def test_a_condition_that_cannot_be_meant_is_refused_with_its_place(kubectl, applied, workload):
    name = "tracejob/secrets-and-orders"
    kubectl("-n", "demo", "delete", "--ignore-not-found", name)  # what is over is not judged again
    applied("04-where")
    patch = '[{"op": "replace", "path": "/spec/trackers/0/where", "value": "pth == \\"/etc\\""}]'
    kubectl("-n", "demo", "patch", name, "--type=json", "-p", patch)
    kubectl("-n", "demo", "wait", "--for=condition=Accepted=False", "--timeout=20s", name)
    (accepted,) = (
        condition
        for condition in kubectl.get("-n", "demo", name)["status"]["conditions"]
        if condition["type"] == "Accepted"
    )
    assert accepted["reason"] == "InvalidWhere"
    assert accepted["message"].startswith(
        'spec.trackers[0].where: at character 1: no column "pth"; did you mean path?; there are '
    )
