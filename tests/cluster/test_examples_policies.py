# SPDX-License-Identifier: Apache-2.0
"""Every example of policies does what its README says."""

import json

import pytest

from eunomia_agent.kernel import hooks


@pytest.fixture
def alerts(kubectl):
    """The alerts of a policy's report by their rule."""

    def found(namespace, name):
        told = kubectl.run("-n", namespace, "get", f"alertreport/{name}", "-o", "json")
        listed = json.loads(told.stdout)["alerts"] if told.returncode == 0 else []
        return {alert["rule"]: alert for alert in listed}

    return found


@pytest.fixture
def ready(kubectl):
    def wait(namespace, name, condition="Ready", seconds=60):
        wanted = (f"--for=condition={condition}", f"--timeout={seconds}s")
        kubectl("-n", namespace, "wait", *wanted, f"securitypolicy/{name}")

    return wait


def run(kubectl, namespace, pod, command):
    return kubectl.run("-n", namespace, "exec", pod, "--", "/bin/sh", "-c", command)


def test_a_guard(cluster, kubectl, applied, ready, alerts, until):
    applied("13-a-guard")
    ready("vault", "guard")
    cluster.shell("vault", "till", "cp /bin/busybox /tmp/sleep; /tmp/sleep 0")
    rule = "execution/written-then-executed"
    found = until(lambda: alerts("vault", "guard").get(rule), 20, f"an alert of {rule}")
    assert (found["pod"], found["container"], found["severity"]) == ("till", "shell", "alert")
    assert json.loads(found["evidence"])["path"] == "/tmp/sleep"
    status = kubectl.get("-n", "vault", "securitypolicy/guard")["status"]
    assert status["rules"]["invalid"] == 0


def test_a_rule_of_your_own(kubectl, applied, ready, alerts, until):
    applied("14-a-rule-of-your-own")
    ready("museum", "watchman")
    theft = "ln -s jewels /tmp/stones; cat /tmp/stones; echo ended with $?"
    assert run(kubectl, "museum", "hall", theft).stdout == "ended with 137\n"
    run(kubectl, "museum", "hall", "for n in $(seq 25); do : >/tmp/f$n; rm /tmp/f$n; done")
    both = {"jewels-touched", "much-deleted"}
    found = until(
        lambda: alerts("museum", "watchman").keys() >= both and alerts("museum", "watchman"),
        20,
        "alerts of both rules",
    )
    assert found["jewels-touched"]["response"] == "Killed"
    assert found["much-deleted"]["message"].startswith("rm deletes much below /tmp, /tmp/f")


def test_refused(kubectl, applied, ready, alerts, until):
    applied("16-refused")
    ready("archive", "clerk")
    looked = run(kubectl, "archive", "desk", "cat /tmp/ledger; echo and goes on")
    found = until(
        lambda: alerts("archive", "clerk").get("ledger-opened"), 20, "an alert of the rule"
    )
    status = kubectl.get("-n", "archive", "securitypolicy/clerk")["status"]
    assert status["rules"]["invalid"] == 0
    if hooks.missing("lsm/file_open") is None:
        assert looked.stdout == "and goes on\n"
        assert "Operation not permitted" in looked.stderr
        assert found["response"] == "Denied"
        assert status["alerts"]["denied"] == 1
    else:
        assert looked.stdout == "secret\nand goes on\n"
        assert found.get("response", "") == ""
        degraded = next(each for each in status["conditions"] if each["type"] == "Degraded")
        assert (degraded["status"], degraded["reason"]) == ("True", "NodesInTrouble")
        (failure,) = status["failures"]
        assert failure["message"].startswith("ledger-opened refuses nothing: DenyUnsupported: ")


@pytest.mark.timeout(300, func_only=True)
def test_a_learned_profile(cluster, kubectl, ready, examples, until):
    # As its README has it: the policy comes before the pods.
    names = ("seccompprofile", "securitypolicy", "deployment")
    place = examples / "15-a-learned-profile"
    kubectl("apply", "-f", str(place / "workload.yaml"))
    try:
        kubectl("apply", "-f", str(place / "seccompprofile.yaml"))
        kubectl("apply", "-f", str(place / "securitypolicy.yaml"))
        ready("bakery", "counter")
        kubectl("apply", "-f", str(place / "deployment.yaml"))
        ready("bakery", "counter", "Converged", 90)
        profile = kubectl.get("-n", "bakery", "seccompprofile/counter-nginx")
        assert "accept4" in profile["spec"]["syscalls"]
        assert not {"mount", "chmod", "sync"} & set(profile["spec"]["syscalls"])
        assert profile["spec"]["baseSyscalls"] == ["sync", "syncfs"]
        ready("bakery", "counter", "ProfileReady")
        enforce = json.dumps({"spec": {"seccomp": {"mode": "Enforce"}}})
        kubectl("-n", "bakery", "patch", "securitypolicy/counter", "--type=merge", "-p", enforce)

        def enforced():
            status = kubectl.get("-n", "bakery", "securitypolicy/counter")["status"]
            return status["seccomp"]["mode"] == "Enforce"

        until(enforced, 30, "the profile is enforced")
        until(
            lambda: (
                "binding" in kubectl.get("-n", "bakery", "seccompprofile/counter-nginx")["spec"]
            ),
            20,
            "it binds",
        )
        # Each replica of the webhook looks for itself.

        def refused():
            kubectl("-n", "bakery", "rollout", "restart", "deployment/counter")
            done = ("rollout", "status", "--timeout=60s", "deployment/counter")
            kubectl("-n", "bakery", *done)
            change = ("exec", "deployment/counter", "--", "chmod", "600", "/srv/index.html")
            return "Operation not permitted" in kubectl.run("-n", "bakery", *change).stderr

        until(refused, 60, "what nginx never did is refused")
        kubectl("-n", "bakery", "exec", "deployment/counter", "--", "sync")
        wider = json.dumps({"spec": {"version": "v2", "syscalls": ["sync", "syncfs", "chmod"]}})
        base = ("patch", "seccompprofile/house-rules", "--type=merge", "-p", wider)
        kubectl("-n", "bakery", *base)

        def versions():
            found = kubectl.get("-n", "bakery", "seccompprofile/counter-nginx")
            return {each["version"]: each for each in found["status"]["history"]}

        told = until(lambda: versions() if "v2" in versions() else None, 20, "a new version")
        assert told["v2"]["added"] == ["chmod"]
        assert told["v1"]["provenance"]["runs"] >= 2
        ready("bakery", "counter", "ProfileReady")
        status = kubectl.get("-n", "bakery", "securitypolicy/counter")["status"]
        assert "drop" in status["capabilities"]["containers"][0]["patch"]
    finally:
        for name in (*reversed(names), "workload"):
            kubectl(
                "delete", "--ignore-not-found", "--wait=false", "-f", str(place / f"{name}.yaml")
            )
