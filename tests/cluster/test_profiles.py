# SPDX-License-Identifier: Apache-2.0
"""A profile is learned from nginx at work, and a new nginx does the same under it and no more."""

import base64
import hashlib
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from cryptography import x509

SYSTEM = "eunomia-system"
QUICK = {"minRuns": 2, "minRestarts": 1, "quietPeriod": "5s", "maxUnseenPercent": 20}


@pytest.fixture
def shop(kubectl, namespace):
    """A namespace that has opted in."""
    kubectl("label", "namespace", namespace, "eunomia.dev/seccomp=enabled")
    return namespace


def web(shop, mode, **seccomp):
    """The policy of the web servers."""
    return {
        "apiVersion": "eunomia.dev/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "web", "namespace": shop},
        "spec": {
            "target": {"podSelector": {"matchLabels": {"app": "web"}}},
            "seccomp": {"mode": mode, "convergence": QUICK, **seccomp},
            "capabilities": {"mode": "Learn"},
        },
    }


@pytest.fixture
def policy(kubectl, shop):
    def apply(mode, **seccomp):
        kubectl.apply(web(shop, mode, **seccomp))

    return apply


@pytest.fixture
def serve(kubectl, shop):
    """Start an nginx, and return its pod. spec: of the pod, beside its container."""

    def start(name, *, labels=None, capabilities=(), **spec):
        rights = {"capabilities": {"add": list(capabilities)}}
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": shop,
                    "labels": {"app": "web", **(labels or {})},
                },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    **spec,
                    "containers": [
                        {
                            "name": "nginx",
                            "image": "localhost/eunomia-nginx:dev",
                            "imagePullPolicy": "Never",
                            **({"securityContext": rights} if capabilities else {}),
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


def done(kubectl, shop, pod, *command):
    """Whether a command in a pod comes to a good end."""
    return kubectl.run("-n", shop, "exec", pod, "--", *command).returncode == 0


def changes_mode(kubectl, shop, pod):
    """What nginx never does."""
    return done(kubectl, shop, pod, "chmod", "644", "/srv/index.html")


def mounts(kubectl, shop, pod):
    return done(kubectl, shop, pod, "mount", "-i", "-t", "tmpfs", "none", "/tmp")


def allowed_after_audit(kubectl, shop, policy, seccomp, until):
    """Let a call be seen that the profile would refuse, which holds Enforce back; allow it."""
    policy("Audit")
    until(lambda: seccomp()["mode"] == "Audit", 30, "audit")
    assert changes_mode(kubectl, shop, "one")
    until(lambda: "chmod by chmod in nginx" in seccomp().get("drift", []), 40, "the call is seen")
    assert seccomp()["refusals"] >= 1
    asked = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    said = kubectl.refused(*asked, text=json.dumps(web(shop, "Enforce")))
    assert "Audit still sees calls that the profile would refuse" in said
    kubectl(*asked, text=json.dumps(web(shop, "Enforce", force=True)))
    allow = set()

    def passed():
        now = seccomp()
        allow.update(each.partition(" ")[0] for each in now.get("drift", []))
        policy("Audit", allow=sorted(allow))
        return not now["refusals"]

    until(passed, 60, "what is allowed is no refusal")
    assert "chmod" in allow
    assert "mount" not in allow
    return sorted(allow)


def told_as_alerts(kubectl, shop, until):
    """Who was refused a mount, and who was not and would be, are told in all places."""

    def alerts():
        found = kubectl.run("-n", shop, "get", "alertreport/web", "-o", "json")
        listed = json.loads(found.stdout)["alerts"] if found.returncode == 0 else []
        calls = [
            (re.search(r"called (\w+)", each["message"])[1], each)
            for each in listed
            if each["rule"] == "call-refused"
        ]
        return {(call, each["pod"]): each for call, each in calls}

    wanted = {("chmod", "one"), ("mount", "one"), ("mount", "three")}
    until(lambda: wanted <= alerts().keys(), 40, "alerts of the calls")
    told = {who: (each["response"], each["dryRun"]) for who, each in alerts().items()}
    assert told["chmod", "one"] == told["mount", "one"] == ("", True)
    assert told["mount", "three"] == ("Refused", False)
    three = alerts()["mount", "three"]
    assert "mount, which its seccomp profile refused" in three["message"]
    assert (three["comm"], three["container"], three["severity"]) == ("mount", "nginx", "warning")
    assert json.loads(three["evidence"])["exe"].endswith("/busybox")

    def events():
        found = kubectl.get("-n", shop, "events")["items"]
        told = [each for each in found if each["involvedObject"]["name"] in ("web", "three")]
        kinds = {
            each["involvedObject"]["kind"] for each in told if "call-refused" in each["message"]
        }
        return {"SecurityPolicy", "Pod"} <= kinds

    until(events, 40, "Events on the policy and on the pod")


def worn(kubectl, *policy):
    """How many pods of a policy wear its profiles, and how many do not."""
    found = kubectl.get(*policy)["status"]["seccomp"]
    return found["boundPods"], found["unprotectedPods"]


@pytest.mark.timeout(360, func_only=True)
def test_a_profile_is_learned_audited_enforced_and_gone_back_from(
    cluster, kubectl, shop, policy, serve, until
):
    def status():
        return kubectl.get("-n", shop, "securitypolicy/web")["status"]

    def seccomp():
        return status()["seccomp"]

    def condition(kind):
        found = [each for each in status()["conditions"] if each["type"] == kind]
        return found[0] if found else {}

    def nginx(name):
        """Start one that may mount, as far as capabilities go."""
        return serve(name, capabilities=["SYS_ADMIN"])["spec"]["containers"][0]["securityContext"]

    cluster.pod(shop, "asker")
    policy("Learn")
    until(lambda: condition("Ready").get("status") == "True", 30, "the policy's readiness")
    for name in ("one", "two"):
        nginx(name)
        until(lambda name=name: page(kubectl, shop, name) == "Good day\n", 20, "a page")

    until(lambda: condition("Converged").get("status") == "True", 60, f"convergence: {status()}")
    (learned,) = seccomp()["containers"]
    assert (learned["name"], learned["runs"], learned["wholeRuns"]) == ("nginx", 2, 2)
    assert 30 < learned["calls"] < 120
    profile = kubectl.get("-n", shop, "seccompprofile/web-nginx")
    allowed = set(profile["spec"]["syscalls"])
    assert {"accept4", "epoll_wait", "writev", "execve"} <= allowed
    assert not {"chmod", "mount", "ptrace", "bpf", "init_module"} & allowed
    assert "binding" not in profile["spec"]
    assert set(profile["spec"]["provenance"]["pods"]) == {"one", "two"}
    until(lambda: condition("ProfileReady").get("status") == "True", 30, "the file on the node")

    allow = {"allow": allowed_after_audit(kubectl, shop, policy, seccomp, until)}
    policy("Enforce", **allow)
    until(lambda: seccomp()["mode"] == "Enforce", 30, f"enforcement: {status()}")

    def bound(name):
        kubectl("-n", shop, "delete", "--ignore-not-found", "pod", name)
        return nginx(name).get("seccompProfile")

    assert until(lambda: bound("three"), 40, "a new pod wears it") == {
        "type": "Localhost",
        "localhostProfile": f"eunomia/{shop}/web-nginx.json",
    }
    until(lambda: page(kubectl, shop, "three") == "Good day\n", 20, "the same page")

    # Both pods have the capability: the profile alone is what refuses.
    assert changes_mode(kubectl, shop, "three")
    assert mounts(kubectl, shop, "one")
    assert not mounts(kubectl, shop, "three")
    until(lambda: "mount by mount in nginx" in seccomp()["drift"], 40, "the call in the status")
    told_as_alerts(kubectl, shop, until)
    assert status()["alerts"]["warnings"] >= 3
    assert status()["lastAlert"]["rule"] == "call-refused"

    mine = ("-n", shop, "securitypolicy/web")
    until(lambda: worn(kubectl, *mine) == (1, 2), 40, "one wears it, and two from before do not")

    # What a pod says of itself is not believed.
    unconfined = {"seccompProfile": {"type": "Unconfined"}}
    label = {"eunomia.dev/seccomp-profile": "web-nginx"}
    serve("boaster", labels=label, securityContext=unconfined)

    until(lambda: worn(kubectl, *mine) == (1, 3), 40, "one has the label, and not the profile")

    # The first version did not have what was allowed by hand.
    policy("Enforce", profile="v1", **allow)

    def gone_back():
        return bound("four") and not changes_mode(kubectl, shop, "four")

    until(gone_back, 60, f"a new pod wears the version that is gone back to: {status()}")
    (of_nginx,) = seccomp()["containers"]
    assert of_nginx["profile"] == "v1"
    until(lambda: page(kubectl, shop, "four") == "Good day\n", 20, "the same page")
    assert changes_mode(kubectl, shop, "three")  # it goes on as it was started

    policy("Disabled")
    until(lambda: not bound("five"), 40, "a new pod wears none")
    assert page(kubectl, shop, "three") == "Good day\n"


@pytest.fixture
def wide(kubectl, shop):
    """A ClusterSecurityPolicy for the namespace alone."""
    name = f"wide-{secrets.token_hex(3)}"

    def apply(mode, **seccomp):
        selector = {"matchLabels": {"kubernetes.io/metadata.name": shop}}
        target = {"podSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": selector}
        kubectl.apply(
            {
                "apiVersion": "eunomia.dev/v1alpha1",
                "kind": "ClusterSecurityPolicy",
                "metadata": {"name": name},
                "spec": {
                    "target": target,
                    "seccomp": {"mode": mode, "convergence": QUICK, **seccomp},
                },
            }
        )
        return name

    yield apply
    kubectl("delete", "--ignore-not-found", "clustersecuritypolicy", name)


def test_a_policy_of_the_whole_cluster_makes_and_binds_profiles(
    cluster, kubectl, shop, wide, serve, until
):
    name = wide("Learn")

    def condition(kind):
        found = kubectl.get(f"clustersecuritypolicy/{name}").get("status", {})
        return next((e for e in found.get("conditions", []) if e["type"] == kind), {})

    until(lambda: condition("Ready").get("status") == "True", 30, "the policy's readiness")
    cluster.pod(shop, "asker")
    for pod in ("one", "two"):
        serve(pod)
        until(lambda pod=pod: page(kubectl, shop, pod) == "Good day\n", 20, "a page")
    until(lambda: condition("ProfileReady").get("status") == "True", 90, "the file on the node")
    profile = ("-n", SYSTEM, f"seccompprofile/cluster-{name}-nginx")
    assert "binding" not in kubectl.get(*profile)["spec"]

    wide("Enforce", force=True)
    path = f"eunomia/{SYSTEM}/cluster-{name}-nginx.json"

    def bound():
        kubectl("-n", shop, "delete", "--ignore-not-found", "pod", "three")
        context = serve("three")["spec"]["containers"][0].get("securityContext", {})
        return context.get("seccompProfile", {}).get("localhostProfile") == path

    until(bound, 60, "a new pod wears it")
    until(lambda: page(kubectl, shop, "three") == "Good day\n", 20, "the same page")

    mine = f"clustersecuritypolicy/{name}"
    until(lambda: worn(kubectl, mine) == (1, 2), 40, "one pod wears it, and two do not")
    kubectl("delete", "clustersecuritypolicy", name)
    until(lambda: kubectl.run("get", *profile).returncode != 0, 40, "its profile goes with it")
    assert page(kubectl, shop, "three") == "Good day\n"


@pytest.fixture
def written(kubectl, shop, until):
    """A profile that somebody wrote, and that lies on every node."""
    kubectl.apply(
        {
            "apiVersion": "eunomia.dev/v1alpha1",
            "kind": "SeccompProfile",
            "metadata": {"name": "written", "namespace": shop},
            "spec": {
                "container": "main",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": ["read"],
                "version": "v1",
                "binding": {"podSelector": {}},
            },
        }
    )

    def status():
        found = kubectl.get("-n", shop, "seccompprofile/written").get("status", {})
        ready = [e for e in found.get("conditions", []) if e["type"] == "Ready"]
        return found if ready and ready[0]["status"] == "True" else None

    until(status, 40, "the file on every node")
    return status


def test_a_node_that_joins_has_the_files_before_its_agent_is_ready(
    cluster, kubectl, written, until, tmp_path
):
    """The node has no kubelet; its agent is a real one, started by hand."""
    name = f"late-{secrets.token_hex(3)}"
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    cluster.pod(SYSTEM, name, account="eunomia-agent", node=name, ready=False)
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}")
    token = ("create", "token", "eunomia-agent", "--audience=eunomia.dev", *bound)
    (tmp_path / "token").write_text(kubectl("-n", SYSTEM, *token).strip())
    bundle = kubectl.get("-n", SYSTEM, "configmap", "eunomia-ca")["data"]["ca.crt"]
    (tmp_path / "ca.crt").write_text(bundle)
    processes = []
    try:
        forward = [kubectl.path, "-n", SYSTEM, "port-forward", cluster.leader(), ":9443"]
        forwarding = subprocess.Popen(
            forward, env=kubectl.environment, stdout=subprocess.PIPE, text=True
        )
        processes.append(forwarding)
        port = forwarding.stdout.readline().split(":")[1].split()[0]
        with socket.create_server(("127.0.0.1", 0)) as free:
            metrics = free.getsockname()[1]
        environment = {
            **os.environ,
            "NODE_NAME": name,
            "EUNOMIA_OPERATOR": f"localhost:{port}",
            "EUNOMIA_TOKEN_FILE": str(tmp_path / "token"),
            "EUNOMIA_CA_FILE": str(tmp_path / "ca.crt"),
            "EUNOMIA_STATE_DIR": str(tmp_path / "state"),
            "EUNOMIA_SECCOMP_DIR": str(tmp_path / "seccomp"),
            "EUNOMIA_CRI_SOCKET": str(tmp_path / "none.sock"),
            "EUNOMIA_METRICS_PORT": str(metrics),
        }
        agent = [sys.executable, "-m", "eunomia_agent"]
        with (tmp_path / "log").open("w") as log:
            processes.append(subprocess.Popen(agent, env=environment, stderr=log))

        def ready():
            try:
                with urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=1) as answer:
                    return answer.status == 200
            except (URLError, OSError):
                return False

        until(ready, 40, f"the agent's readiness: {(tmp_path / 'log').read_text()}")
        status = written()
        assert status, "a new node holds nothing back"
        content = (tmp_path / "seccomp" / status["localhostProfile"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == status["sha256"]
        nodes = len(kubectl.get("nodes")["items"])
        until(lambda: (written() or {}).get("nodesReady") == nodes, 30, "the node's word of it")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(20)
        kubectl("delete", "node", name)
        kubectl("-n", SYSTEM, "delete", "pod", name, "--force", "--grace-period=0")


def test_certificates_of_the_webhook_are_made_anew_and_no_pod_goes_without(
    kubectl, shop, written, until
):
    deployment = ("-n", SYSTEM, "deployment/eunomia-operator")
    setting = "EUNOMIA_WEBHOOK_CERTIFICATE_SECONDS"

    def settle(value):
        kubectl("set", "env", *deployment, f"{setting}{value}")
        kubectl("rollout", "status", "--timeout=90s", *deployment)

    def replicas():
        pods = ("pods", "-l", "app.kubernetes.io/component=operator")
        return {
            pod["metadata"]["name"]: pod["status"]["podIP"]
            for pod in kubectl.get("-n", SYSTEM, *pods)["items"]
            if "deletionTimestamp" not in pod["metadata"]
        }

    def served(address, trusting):
        """The number of the certificate, if it is one that the API server would take."""
        with (
            socket.create_connection((address, 9444), timeout=5) as raw,
            trusting.wrap_socket(raw, server_hostname=f"eunomia-webhook.{SYSTEM}.svc") as shown,
        ):
            return x509.load_der_x509_certificate(shown.getpeercert(True)).serial_number

    def is_bound():
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "tried", "namespace": shop},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }
        asked = ("create", "--dry-run=server", "--output=json", "-f", "-")
        made = json.loads(kubectl(*asked, text=json.dumps(pod)))
        context = made["spec"]["containers"][0].get("securityContext", {})
        return "seccompProfile" in context

    settle("=20")
    try:
        until(lambda: len(replicas()) == 2, 60, "two replicas")
        until(is_bound, 60, "pods are bound")
        configuration = kubectl.get("mutatingwebhookconfiguration", "eunomia-seccomp")
        bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"]
        trusting = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
        addresses = replicas()
        numbers = {name: [] for name in addresses}
        tried = 0
        deadline = time.monotonic() + 90
        while tried < 20 or not all(len({*each}) >= 3 for each in numbers.values()):
            assert time.monotonic() < deadline, numbers
            for name, address in addresses.items():
                numbers[name].append(served(address, trusting))
            assert is_bound(), f"after {tried} that were"
            tried += 1
            time.sleep(0.5)
    finally:
        settle("-")


def test_capabilities_that_are_used_are_recommended_as_a_patch(
    cluster, kubectl, shop, policy, serve, until
):
    policy("Disabled")
    wait = ("wait", "--for=condition=Ready", "--timeout=60s", "securitypolicy/web")
    kubectl("-n", shop, *wait)
    setup = {
        "name": "setup",
        "image": "localhost/eunomia-nginx:dev",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "chown 1 /srv; sleep 3"],
    }
    serve("one", initContainers=[setup])

    def recommended():
        found = kubectl.get("-n", shop, "securitypolicy/web").get("status", {})
        containers = found.get("capabilities", {}).get("containers", [])
        done = all(each["patch"] and "drop" in each for each in containers)
        return containers if done and len(containers) == 2 else None

    found, early = until(recommended, 40, "a recommendation")
    assert (found["name"], early["name"]) == ("nginx", "setup")
    assert "CAP_SETUID" in found["used"]  # for its workers
    checks = {each["name"]: each for each in found["checks"]}
    assert "set" in checks["CAP_SETUID"]["call"]
    assert checks["CAP_SETUID"]["granted"] > 0
    # What the runtime gives a container that says nothing.
    assert {"CAP_NET_RAW", "CAP_SETUID"} <= set(found["bounding"])
    assert found["privileged"] is False
    assert "NET_RAW" in found["drop"]
    assert "SETUID" not in found["drop"]
    assert (found["podField"], early["podField"]) == ("containers", "initContainers")
    assert early["add"] == ["CHOWN"]
    assert early["bounding"] == found["bounding"]
    (patched,) = json.loads(found["patch"])["spec"]["template"]["spec"]["containers"]
    assert patched["securityContext"]["capabilities"]["drop"] == ["ALL"]
