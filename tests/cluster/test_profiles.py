# SPDX-License-Identifier: Apache-2.0
"""A profile is learned from nginx at work, and a new nginx does the same under it and no more."""

import json

import pytest

SYSTEM = "eunomia-system"
QUICK = {"minRuns": 2, "minRestarts": 1, "quietPeriod": "5s", "maxUnseenPercent": 20}


@pytest.fixture
def shop(kubectl, namespace):
    """A namespace that has opted in."""
    kubectl("label", "namespace", namespace, "eunomia.dev/seccomp=enabled")
    return namespace


@pytest.fixture
def policy(kubectl, shop):
    def apply(mode, **seccomp):
        kubectl.apply(
            {
                "apiVersion": "eunomia.dev/v1alpha1",
                "kind": "SecurityPolicy",
                "metadata": {"name": "web", "namespace": shop},
                "spec": {
                    "target": {"podSelector": {"matchLabels": {"app": "web"}}},
                    "seccomp": {"mode": mode, "convergence": QUICK, **seccomp},
                    "capabilities": {"mode": "Learn"},
                },
            }
        )

    return apply


@pytest.fixture
def serve(kubectl, shop):
    """Start an nginx, ask it for a page, and return its pod."""

    def start(name):
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": shop, "labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        {
                            "name": "nginx",
                            "image": "localhost/eunomia-nginx:dev",
                            "imagePullPolicy": "Never",
                        }
                    ],
                },
            }
        )
        kubectl("-n", shop, "wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}")
        return kubectl.get("-n", shop, f"pod/{name}")

    return start


def page(kubectl, namespace, name):
    """The page, as another pod is served it."""
    address = kubectl.get("-n", namespace, "pod", name)["status"]["podIP"]
    ask = ("exec", "asker", "--", "wget", "-q", "-O", "-", f"http://{address}:8080/")
    return kubectl.run("-n", namespace, *ask).stdout


def told_as_alerts(kubectl, shop, until):
    """Who was refused a chmod, and who was not and would be, are told in all places."""

    def alerts():
        found = kubectl.run("-n", shop, "get", "alertreport/web", "-o", "json")
        listed = json.loads(found.stdout)["alerts"] if found.returncode == 0 else []
        chmods = [each for each in listed if each["message"].startswith("chmod (")]
        return {each["pod"]: each for each in chmods}

    until(lambda: {"one", "three"} <= alerts().keys(), 40, "alerts of the call")
    one, three = alerts()["one"], alerts()["three"]
    assert (one["rule"], one["response"], one["dryRun"]) == ("call-refused", "", True)
    assert (three["rule"], three["response"], three["dryRun"]) == ("call-refused", "Refused", False)
    assert "chmod, which its seccomp profile refused" in three["message"]
    assert (three["comm"], three["container"], three["severity"]) == ("chmod", "nginx", "warning")
    assert json.loads(three["evidence"])["exe"].endswith("/busybox")

    def events():
        found = kubectl.get("-n", shop, "events")["items"]
        told = [each for each in found if each["involvedObject"]["name"] in ("web", "three")]
        kinds = {
            each["involvedObject"]["kind"] for each in told if "call-refused" in each["message"]
        }
        return {"SecurityPolicy", "Pod"} <= kinds

    until(events, 40, "Events on the policy and on the pod")


@pytest.mark.timeout(300, func_only=True)
def test_a_profile_is_learned_audited_enforced_and_gone_back_from(
    cluster, kubectl, shop, policy, serve, until
):
    def status():
        return kubectl.get("-n", shop, "securitypolicy/web")["status"]

    def condition(kind):
        found = [each for each in status()["conditions"] if each["type"] == kind]
        return found[0] if found else {}

    cluster.pod(shop, "asker")
    policy("Learn")
    until(lambda: condition("Ready").get("status") == "True", 30, "the policy's readiness")
    for name in ("one", "two"):
        serve(name)
        until(lambda name=name: page(kubectl, shop, name) == "Good day\n", 20, "a page")

    until(lambda: condition("Converged").get("status") == "True", 60, f"convergence: {status()}")
    (learned,) = status()["seccomp"]["containers"]
    assert (learned["name"], learned["runs"], learned["wholeRuns"]) == ("nginx", 2, 2)
    assert 30 < learned["calls"] < 120
    profile = kubectl.get("-n", shop, "seccompprofile/web-nginx")
    allowed = set(profile["spec"]["syscalls"])
    assert {"accept4", "epoll_wait", "writev", "execve"} <= allowed
    assert not {"mount", "ptrace", "bpf", "init_module"} & allowed
    assert "binding" not in profile["spec"]
    assert set(profile["spec"]["provenance"]["pods"]) == {"one", "two"}
    until(lambda: condition("ProfileReady").get("status") == "True", 30, "the file on the node")

    policy("Enforce")
    until(lambda: status()["seccomp"]["mode"] == "Enforce", 30, f"enforcement: {status()}")

    def bound():
        kubectl("-n", shop, "delete", "--ignore-not-found", "pod", "three")
        context = serve("three")["spec"]["containers"][0].get("securityContext", {})
        return context.get("seccompProfile")

    assert until(bound, 40, "a new pod wears it") == {
        "type": "Localhost",
        "localhostProfile": f"eunomia/{shop}/web-nginx.json",
    }
    until(lambda: page(kubectl, shop, "three") == "Good day\n", 20, "the same page")

    def done(name, *command):
        return kubectl.run("-n", shop, "exec", name, "--", *command).returncode == 0

    # nginx never changes a file's mode: that one is refused by the profile alone.
    assert done("one", "chmod", "600", "/srv/index.html")
    assert done("three", "cat", "/srv/index.html")
    assert not done("three", "chmod", "600", "/srv/index.html")
    assert not done("three", "mount", "-t", "tmpfs", "none", "/tmp")
    refused = {"chmod by chmod in nginx"}
    drift = set()

    def told():
        drift.update(status()["seccomp"]["drift"])
        return refused <= drift

    try:
        until(told, 40, "the call in the status")
    except AssertionError:
        pytest.fail(f"told of {drift} alone: {status()}")

    told_as_alerts(kubectl, shop, until)
    assert status()["alerts"]["warnings"] >= 2
    assert status()["lastAlert"]["rule"] == "call-refused"

    def worn():
        found = status()["seccomp"]
        return (found["boundPods"], found["unprotectedPods"]) == (1, 2)

    until(worn, 40, "one pod wears it, and the two from before do not")

    policy("Disabled")

    def free():
        kubectl("-n", shop, "delete", "--ignore-not-found", "pod", "four")
        return "securityContext" not in serve("four")["spec"]["containers"][0] or None

    until(free, 40, "a new pod wears none")
    assert page(kubectl, shop, "three") == "Good day\n"  # it goes on as it was started


def test_pods_start_while_the_webhook_is_down(cluster, kubectl, shop, until):
    operator = ("-n", SYSTEM, "scale", "deployment/eunomia-operator")
    kubectl(*operator, "--replicas=0")
    try:
        gone = ("-n", SYSTEM, "wait", "--for=delete", "--timeout=60s", "pod")
        kubectl(*gone, "-l", "app.kubernetes.io/component=operator")
        cluster.pod(shop, "lonely")
    finally:
        kubectl(*operator, "--replicas=2")
        done = ("-n", SYSTEM, "rollout", "status", "--timeout=60s")
        kubectl(*done, "deployment/eunomia-operator")


def test_capabilities_that_are_used_are_recommended_as_a_patch(
    cluster, kubectl, shop, policy, serve, until
):
    policy("Disabled")
    wait = ("wait", "--for=condition=Ready", "--timeout=60s", "securitypolicy/web")
    kubectl("-n", shop, *wait)
    serve("one")

    def recommended():
        found = kubectl.get("-n", shop, "securitypolicy/web").get("status", {})
        containers = found.get("capabilities", {}).get("containers", [])
        return containers[0] if containers and containers[0]["patch"] else None

    found = until(recommended, 40, "a recommendation")
    assert found["name"] == "nginx"
    assert "CAP_SETUID" in found["used"]  # for its workers
    patch = json.loads(found["patch"])
    assert "ALL" in json.dumps(patch)
