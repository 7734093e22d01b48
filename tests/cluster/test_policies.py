# SPDX-License-Identifier: Apache-2.0
"""What a policy says is broken is told, killed or cut off, whoever is away meanwhile."""

import json
import os
import subprocess
from pathlib import Path

import pytest

SYSTEM = "eunomia-system"


def rule(name, path, **more):
    return {
        "name": name,
        "severity": "alert",
        "events": ["access"],
        "when": f'path == "{path}"',
        "message": "{comm} touched {path}",
        **more,
    }


@pytest.fixture
def policy(kubectl, namespace):
    """Apply a policy of a namespace, and wait until it guards."""

    def apply(*custom, built_in=(), **spec):
        kubectl.apply(
            {
                "apiVersion": "eunomia.dev/v1alpha1",
                "kind": "SecurityPolicy",
                "metadata": {"name": "guard", "namespace": namespace},
                "spec": {
                    "target": {"podSelector": {}},
                    "rules": {"custom": list(custom), "builtIn": list(built_in)},
                    **spec,
                },
            }
        )
        wait = ("wait", "--for=condition=Ready", "--timeout=60s", "securitypolicy/guard")
        kubectl("-n", namespace, *wait)

    return apply


@pytest.fixture
def status(kubectl, namespace):
    return lambda: kubectl.get("-n", namespace, "securitypolicy/guard")["status"]


@pytest.fixture
def alerts(kubectl, namespace):
    """The alerts of the policy's report, the newest first."""

    def found():
        told = kubectl.run("-n", namespace, "get", "alertreport/guard", "-o", "json")
        return json.loads(told.stdout)["alerts"] if told.returncode == 0 else []

    return found


def run(kubectl, namespace, command):
    """Run a line of shell in the pod, whatever comes of it."""
    return kubectl.run("-n", namespace, "exec", "maker", "--", "/bin/sh", "-c", command)


def test_a_bad_expression_names_column_and_position_and_the_others_go_on(
    cluster, kubectl, namespace, policy, status, alerts, until
):
    policy(rule("good", "/tmp/a"), {**rule("bad", ""), "when": 'comm == "x" && pathh == "/x"'})
    cluster.pod(namespace, "maker")
    counts = status()["rules"]
    assert (counts["total"], counts["invalid"]) == (1, 1)
    (problem,) = counts["problems"]
    assert problem["rule"] == "bad"
    assert 'character 16: no column "pathh"; did you mean path?' in problem["message"]
    cluster.shell(namespace, "maker", "echo x >/tmp/a")
    (alert,) = until(alerts, 20, "the alert of the rule that is good")
    assert (alert["rule"], alert["message"]) == ("good", "sh touched /tmp/a")
    assert (alert["namespace"], alert["pod"], alert["container"]) == (namespace, "maker", "main")
    assert "containerd-shim" in [each["comm"] for each in alert["ancestors"]]
    evidence = json.loads(alert["evidence"])
    assert (evidence["path"], evidence["exe"]) == ("/tmp/a", "/bin/busybox")
    counted = until(lambda: status()["alerts"]["alerts"], 20, "the alert in the status")
    assert counted == 1

    def told():
        found = kubectl.get("-n", namespace, "events", "--field-selector=reason=SecurityAlert")
        return {each["involvedObject"]["kind"] for each in found["items"]} == {
            "SecurityPolicy",
            "Pod",
        }

    until(told, 20, "Events of the policy and of the pod")


def test_the_kernel_kills_before_a_program_reads_a_byte(
    cluster, kubectl, namespace, policy, status, alerts, until
):
    policy(rule("jewels", "/tmp/jewels", when='kind == "open" && path == "/tmp/jewels"'))
    cluster.pod(namespace, "maker")
    cluster.shell(namespace, "maker", "echo gold >/tmp/jewels; ln -s jewels /tmp/other")
    assert run(kubectl, namespace, "cat /tmp/jewels").stdout == "gold\n"
    policy(rule("jewels", "/tmp/jewels", response="Kill", when='path == "/tmp/jewels"'))

    def killed():
        ended = run(kubectl, namespace, "cat /tmp/other; echo ended with $?")
        return ended.stdout == "ended with 137\n"

    until(killed, 20, "cat is killed")
    assert run(kubectl, namespace, "cat /tmp/jewels; echo $?").stdout == "137\n"
    assert run(kubectl, namespace, "cat /etc/hostname; echo $?").stdout == "maker\n0\n"
    until(lambda: status()["alerts"]["killed"] >= 2, 20, "the killed ones in the status")
    assert "Killed" in {each["response"] for each in until(alerts, 20, "an alert")}


def test_a_dry_run_tells_and_does_nothing(cluster, kubectl, namespace, policy, alerts, until):
    deadly = rule("deadly", "/tmp/a", response="Kill")
    cut = rule("cut", "/tmp/a", response="Isolate")
    policy(deadly, cut, mode="DryRun")
    cluster.pod(namespace, "maker")
    assert run(kubectl, namespace, "echo x >/tmp/a; cat /tmp/a").stdout == "x\n"
    found = until(lambda: len(alerts()) == 2 and alerts(), 20, "both alerts")
    assert all(each["dryRun"] for each in found)
    assert "eunomia.dev/isolated" not in kubectl.get("-n", namespace, "pod/maker")["metadata"].get(
        "labels", {}
    )


def test_a_pod_is_cut_off_and_let_back(cluster, kubectl, namespace, policy, until):
    policy(rule("cut", "/tmp/a", response="Isolate"))
    cluster.pod(namespace, "maker")
    cluster.shell(namespace, "maker", "echo x >/tmp/a")

    def label():
        labels = kubectl.get("-n", namespace, "pod/maker")["metadata"].get("labels", {})
        return labels.get("eunomia.dev/isolated")

    until(lambda: (label() or "").startswith("guard-"), 20, "the pod's label")
    (cut,) = kubectl.get("-n", namespace, "networkpolicies")["items"]
    assert cut["spec"] == {
        "podSelector": {"matchLabels": {"eunomia.dev/isolated": label()}},
        "policyTypes": ["Ingress", "Egress"],
    }
    kubectl("-n", namespace, "delete", "securitypolicy/guard")
    until(lambda: not label(), 30, "the pod is let back")
    until(lambda: not kubectl.get("-n", namespace, "networkpolicies")["items"], 60, "none is left")


def test_two_policies_of_the_same_rules_cost_one_probe(cluster, kubectl, namespace, policy, until):
    (agent,) = cluster.processes(cluster.agent())

    def programs():
        held = [os.readlink(each) for each in Path(f"/proc/{agent}/fd").iterdir()]
        return held.count("anon_inode:bpf-prog")

    cluster.pod(namespace, "maker")
    policy(rule("a", "/tmp/a"))
    first = programs()
    second = kubectl.get("-n", namespace, "securitypolicy/guard")
    second["metadata"] = {"name": "second", "namespace": namespace}
    second.pop("status")
    kubectl.apply(second)
    wait = ("wait", "--for=condition=Ready", "--timeout=60s", "securitypolicy/second")
    kubectl("-n", namespace, *wait)
    assert programs() == first > 0


def test_the_operator_is_away_and_history_arrives_later_once(
    cluster, kubectl, namespace, policy, status, alerts, until
):
    deadly = rule("deadly", "/tmp/deadly", response="Kill", when='path == "/tmp/deadly"')
    policy(rule("told", "/tmp/told", deduplicate="0s"), deadly)
    cluster.pod(namespace, "maker")
    cluster.shell(namespace, "maker", "echo x >/tmp/told")
    until(lambda: len(alerts()) == 1, 20, "the first alert")
    operator = ("-n", SYSTEM, "scale", "deployment/eunomia-operator")
    kubectl(*operator, "--replicas=0")
    try:
        gone = ("-n", SYSTEM, "wait", "--for=delete", "--timeout=60s", "pod")
        kubectl(*gone, "-l", "app.kubernetes.io/component=operator")
        cluster.shell(namespace, "maker", "for n in 1 2 3; do echo x >/tmp/told; done")
        assert run(kubectl, namespace, "(echo x >/tmp/deadly); echo $?").stdout == "137\n"
        assert len(alerts()) == 1
    finally:
        kubectl(*operator, "--replicas=2")
        done = ("-n", SYSTEM, "rollout", "status", "--timeout=60s")
        kubectl(*done, "deployment/eunomia-operator")
    until(lambda: len(alerts()) == 5, 60, "what happened meanwhile")
    counted = until(
        lambda: status()["alerts"] if status()["alerts"]["killed"] else None, 30, "the counts"
    )
    assert (counted["alerts"], counted["killed"], counted["dropped"]) == (5, 1, 0)
    assert len({each["id"] for each in alerts()}) == 5


def test_a_flood_of_one_pod_hides_no_other_pods_alert(
    cluster, kubectl, namespace, policy, status, alerts, until
):
    policy(rule("touched", "/tmp/a", deduplicate="0s", groupBy=["pid"]))
    cluster.pod(namespace, "maker")
    cluster.pod(namespace, "quiet")
    flood = "timeout 5 sh -c 'while :; do : </tmp/a; done'"
    started = subprocess.Popen(
        [
            kubectl.path,
            "-n",
            namespace,
            "exec",
            "maker",
            "--",
            "/bin/sh",
            "-c",
            f"touch /tmp/a; {flood}",
        ],
        env=kubectl.environment,
    )
    try:
        until(lambda: any(each["pod"] == "maker" for each in alerts()), 20, "the flood's alerts")
        cluster.shell(namespace, "quiet", "echo x >/tmp/a")
        until(lambda: any(each["pod"] == "quiet" for each in alerts()), 20, "the quiet pod's alert")
    finally:
        started.wait(60)
    counted = until(
        lambda: status()["alerts"] if status()["alerts"]["dropped"] else None,
        30,
        "what was dropped",
    )
    assert counted["alerts"] > counted["dropped"] > 1000
