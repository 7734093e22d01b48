# SPDX-License-Identifier: Apache-2.0
"""What a policy says is broken is told, killed or cut off, whoever is away meanwhile."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dev.cluster import layout
from eunomia_agent.state import Store
from eunomia_api import agent_pb2

SYSTEM = "eunomia-system"
PROJECT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/eunomia-dev/agent")


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


def component(change, name):
    """Start or stop a part of the cluster."""
    command = [sys.executable, "-m", "dev.cluster", change, name]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


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


def test_the_operator_is_away_and_pods_start_and_history_arrives_later_once(
    cluster, kubectl, namespace, policy, status, alerts, until
):
    kubectl("label", "namespace", namespace, "eunomia.dev/seccomp=enabled")
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
        cluster.pod(namespace, "lonely")  # though nobody answers for the webhook
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


@pytest.fixture
def shell(kubectl, namespace):
    """Runs a line of shell in the pod by the runtime alone, for when no API server answers."""

    def enter(pod):
        (container,) = kubectl.get("-n", namespace, "pod", pod)["status"]["containerStatuses"]
        name = container["containerID"].removeprefix("containerd://")
        place = ("--address", str(layout.CONTAINERD_SOCKET), "--namespace", "k8s.io")

        def run(command):
            task = ("tasks", "exec", "--exec-id", secrets.token_hex(4), name)
            words = ["ctr", *place, *task, "/bin/sh", "-c", command]
            return subprocess.run(words, capture_output=True, text=True, check=False).stdout

        return run

    return enter


def counted_on_the_node(policy):
    """The alerts that the agent would go on counting from, were it killed now."""
    totals = Store(STATE).load_totals()
    parts = [each.policy for uid, each in totals.items() if uid.startswith(policy)]
    return sum(agent_pb2.PolicyReport.FromString(each).alerts for each in parts)


@pytest.mark.timeout(360, func_only=True)
def test_the_api_server_is_away_and_a_pod_kills_the_agent_and_history_arrives_later_once(
    cluster, kubectl, namespace, policy, status, alerts, shell, until
):
    deadly = rule("deadly", "/tmp/deadly", response="Kill", deduplicate="0s")
    signalled = {
        **rule("signalled", "", deduplicate="0s"),
        "events": ["privileged"],
        "when": 'foreign && error == "" && call == "kill"',
        "message": "{comm} signalled {target_comm}",
    }
    told = rule("told", "/tmp/told", deduplicate="0s")
    deadly["when"] = 'path == "/tmp/deadly"'
    policy(told, deadly, signalled, output=[{"type": "file"}])
    cluster.pod(namespace, "maker", hostPID=True)
    inside = shell("maker")
    uid = kubectl.get("-n", namespace, "securitypolicy/guard")["metadata"]["uid"]
    (agent,) = cluster.processes(cluster.agent())

    def written():
        files = STATE.glob(f"**/{namespace}/guard_alerts/*.jsonl")
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def does_all(agent):
        """Touch, die, signal."""
        inside("for n in 1 2 3; do echo x >/tmp/told; done")
        assert inside("(echo x >/tmp/deadly); echo $?") == "137\n"
        inside(f"kill -CONT {agent}")

    component("stop", "kube-apiserver")
    try:
        does_all(agent)
        until(lambda: len(written()) == 5, 20, "the alerts, on the node")
        until(lambda: counted_on_the_node(uid) == 5, 20, "their count, on the node")
        inside(f"kill -KILL {agent}")
        until(lambda: not Path(f"/proc/{agent}").exists(), 20, "the agent's end")
    finally:
        component("start", "kube-apiserver")

    until(lambda: status().get("gaps") == 1, 90, "the gap is seen")
    until(lambda: status()["nodes"].get("running") == 1, 60, "the policy is in force again")
    (agent,) = cluster.processes(cluster.agent())
    does_all(agent)
    until(lambda: len(alerts()) >= 10, 60, "what happened meanwhile, and since")
    counted = until(
        lambda: status()["alerts"] if status()["alerts"]["alerts"] >= 10 else None, 30, "the counts"
    )
    assert (counted["alerts"], counted["killed"], counted["dropped"]) == (10, 2, 0)
    found = alerts()
    assert Counter(each["rule"] for each in found) == {"told": 6, "deadly": 2, "signalled": 2}
    assert len({each["id"] for each in found}) == 10
    assert {each["id"] for each in written()} == {each["id"] for each in found}
    assert {each["response"] for each in found if each["rule"] == "deadly"} == {"Killed"}
    # The signal that ended the agent is in the gap: what would tell of it ends with it.
    signals = [json.loads(each["evidence"]) for each in found if each["rule"] == "signalled"]
    assert {each["request"] for each in signals} == {signal.SIGCONT}

    def news():
        events = kubectl.get("-n", namespace, "events", "--field-selector=reason=Gap")["items"]
        return [each for each in events if each["involvedObject"]["name"] == "guard"]

    until(news, 20, "an Event of the gap")


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
