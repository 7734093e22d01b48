# SPDX-License-Identifier: Apache-2.0
"""What is installed may do no more than it must."""

import json
import os
from itertools import product
from pathlib import Path

SYSTEM = "eunomia-system"
AGENT = f"system:serviceaccount:{SYSTEM}:eunomia-agent"


def may(kubectl, who, verb, what, *more):
    return kubectl.run("auth", "can-i", verb, what, f"--as={who}", *more).returncode == 0


def test_the_operator_keeps_to_the_restricted_pod_security_standard(kubectl):
    pods = kubectl.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=operator")
    pod = pods["items"][0]
    (container,) = pod["spec"]["containers"]
    copy = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "copy", "namespace": "restricted"},
        "spec": {
            "securityContext": pod["spec"]["securityContext"],
            "containers": [container | {"volumeMounts": []}],
        },
    }
    kubectl("create", "namespace", "restricted")
    try:
        label = "pod-security.kubernetes.io/enforce=restricted"
        kubectl("label", "namespace", "restricted", label)
        kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(copy))
    finally:
        kubectl("delete", "namespace", "restricted", "--wait=false")


def test_every_container_has_requests_limits_and_a_read_only_root(kubectl):
    for kind in ("deployment/eunomia-operator", "daemonset/eunomia-agent"):
        (container,) = kubectl.get("-n", SYSTEM, kind)["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"]["drop"] == ["ALL"]


def test_the_agent_runs_with_its_few_capabilities_and_no_others(cluster):
    (agent,) = cluster.processes(cluster.agent())
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{agent}/status").read_text().splitlines()
        if ":\t" in line
    )
    # linux/capability.h: PERFMON 38, BPF 39
    assert int(status["CapBnd"], 16) == 1 << 38 | 1 << 39
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16)
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"


def test_the_agent_has_no_token_for_the_api_and_no_role(cluster, kubectl):
    (agent,) = cluster.processes(cluster.agent())
    root = Path(f"/proc/{agent}/root")
    assert not (root / "run/secrets/kubernetes.io").exists()
    tokens = [
        Path(folder) / name
        for folder, _, names in os.walk(root / "run/eunomia")
        for name in names
        if "token" in name
    ]
    assert tokens
    for what in ("pods", "nodes", "secrets", "tracejobs.eunomia.dev"):
        assert not may(kubectl, AGENT, "list", what, "--all-namespaces")


def test_the_operator_cannot_read_pods_or_other_secrets(kubectl):
    operator = f"system:serviceaccount:{SYSTEM}:eunomia-operator"
    everywhere = "--all-namespaces"
    assert may(kubectl, operator, "list", "tracejobs.eunomia.dev", everywhere)
    assert may(kubectl, operator, "get", "secret/eunomia-ca", f"--namespace={SYSTEM}")
    assert not may(kubectl, operator, "get", "secret/other", f"--namespace={SYSTEM}")
    assert not may(kubectl, operator, "list", "secrets", everywhere)
    assert not may(kubectl, operator, "list", "pods", everywhere)
    assert not may(kubectl, operator, "update", "tracejobs.eunomia.dev", everywhere)
    assert not may(kubectl, operator, "patch", "tracejobs.eunomia.dev", everywhere)


def rights(kubectl, user, namespace):
    """What of Eunomia's a user may do in a namespace, as the API server lists it."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    asked = json.dumps({**review, "spec": {"namespace": namespace}})
    create = ("create", f"--as={user}", "--validate=false", "--output=json", "-f", "-")
    found = json.loads(kubectl(*create, text=asked))
    assert not found["status"]["incomplete"]
    return {
        (resource, verb)
        for rule in found["status"]["resourceRules"]
        if {"eunomia.dev", "*"} & {*rule.get("apiGroups", ())}
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }


def test_the_standard_roles_of_a_namespace_reach_what_is_its_own_and_no_alerts(
    kubectl, namespace, until
):
    written = ("tracejobs", "securitypolicies")
    seen = (*written, "clustertracejobs", "clustersecuritypolicies", "seccompprofiles")
    looking = ("get", "list", "watch")
    writing = ("create", "update", "patch", "delete", "deletecollection")
    view = {*product(seen, looking)}
    edit = view | {*product(written, writing)}
    alerts = {*product(["alertreports"], looking)}
    roles = {"view": view, "edit": edit, "admin": edit, "eunomia-alerts-reader": alerts}
    for role in roles:
        bind = ("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")
        kubectl("-n", namespace, *bind)

    def here():
        return {role: rights(kubectl, role, namespace) for role in roles}

    until(lambda: here() == roles, 10, f"rights of the roles: {here()}")
    for role in roles:
        assert not rights(kubectl, role, "default")
    # A role that is bound in a namespace reaches nothing of the cluster's, whatever it lists.
    for verb, what in product(("list", "create"), ("clustertracejobs", "clustersecuritypolicies")):
        assert not may(kubectl, "admin", verb, f"{what}.eunomia.dev")


def test_applying_again_keeps_the_authority(kubectl):
    before = kubectl.get("-n", SYSTEM, "secret", "eunomia-ca")["data"]
    assert {"ca.crt", "ca.key"} <= before.keys()

    kubectl("apply", "-k", "manifests/overlays/local")

    assert kubectl.get("-n", SYSTEM, "secret", "eunomia-ca")["data"] == before
    bundle = kubectl.get("-n", SYSTEM, "configmap", "eunomia-ca")["data"]["ca.crt"]
    assert "BEGIN CERTIFICATE" in bundle


def test_an_overlay_with_the_monitors_renders(kubectl, tmp_path):
    manifests = Path(__file__).resolve().parents[2] / "manifests"
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\n"
        "kind: Kustomization\n"
        f"resources: [{os.path.relpath(manifests / 'base', tmp_path)}]\n"
        f"components: [{os.path.relpath(manifests / 'components/monitors', tmp_path)}]\n"
    )
    text = kubectl("kustomize", str(tmp_path))
    assert text.count("kind: ServiceMonitor") == 2
