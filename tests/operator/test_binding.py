# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from eunomia_api.selector import LabelSelector
from eunomia_operator.admission.binding import PROFILE_LABEL, Binding, bind, binding_of

WEB = Binding(
    "shop", "web-nginx", LabelSelector(match_labels={"app": "web"}), "nginx", "eunomia/shop/a.json"
)
EVERYWHERE = LabelSelector()
PROFILE = {"type": "Localhost", "localhostProfile": "eunomia/shop/a.json"}
LABEL = "/metadata/labels/" + PROFILE_LABEL.replace("/", "~1")


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers, **spec}}


def test_the_named_container_alone_gets_the_profile_and_the_pod_a_label():
    bound = bind(pod({"name": "sidecar"}, {"name": "nginx"}), [WEB])
    assert bound.patch == [
        {"op": "add", "path": "/spec/containers/1/securityContext", "value": {}},
        {
            "op": "add",
            "path": "/spec/containers/1/securityContext/seccompProfile",
            "value": PROFILE,
        },
        {"op": "add", "path": LABEL, "value": "web-nginx"},
    ]
    assert bound.warnings == []


def test_containers_that_run_before_the_others_are_bound_alike():
    bound = bind(pod({"name": "app"}, initContainers=[{"name": "x"}, {"name": "nginx"}]), [WEB])
    assert bound.patch[1]["path"] == "/spec/initContainers/1/securityContext/seccompProfile"


def test_what_else_a_security_context_says_stays():
    container = {"name": "nginx", "securityContext": {"runAsUser": 7}}
    (profile, _) = bind(pod(container), [WEB]).patch
    assert profile["path"] == "/spec/containers/0/securityContext/seccompProfile"


@pytest.mark.parametrize(
    ("labels", "name"),
    [({"app": "db"}, "nginx"), ({"app": "web"}, "x")],
)
def test_other_pods_are_left_alone(labels: dict[str, str], name: str):
    other = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name}]}}
    assert bind(other, [WEB]).patch == []


@pytest.mark.parametrize(
    ("container", "spec", "why"),
    [
        ({"securityContext": {"privileged": True}}, {}, "is privileged"),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            {},
            "has a seccomp profile of its own",
        ),
        (
            {},
            {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
            "has a seccomp profile of its own",
        ),
    ],
)
def test_what_a_pod_says_itself_wins_and_its_maker_is_told(
    container: dict[str, Any], spec: dict[str, Any], why: str
):
    bound = bind(pod({"name": "nginx", **container}, **spec), [WEB])
    assert bound.patch == []
    assert bound.warnings == [f"container nginx {why}: web-nginx is not set"]


def test_a_profile_overrides_when_it_is_told_to_but_never_a_privileged_container():
    overriding = Binding("shop", "p", WEB.selector, "nginx", WEB.path, overrides=True)
    own = {"name": "nginx", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}
    assert bind(pod(own), [overriding]).patch[0]["value"] == PROFILE
    privileged = {"name": "nginx", "securityContext": {"privileged": True}}
    assert bind(pod(privileged), [overriding]).patch == []


def test_a_second_call_changes_nothing():
    done = {"name": "nginx", "securityContext": {"seccompProfile": PROFILE}}
    assert bind(pod(done), [WEB]) == bind({}, [])


def test_ephemeral_containers_and_windows_are_left_alone():
    assert bind(pod(ephemeralContainers=[{"name": "nginx"}]), [WEB]).patch == []
    assert bind(pod({"name": "nginx"}, os={"name": "windows"}), [WEB]).patch == []


def test_of_two_profiles_the_first_by_name_is_taken_and_the_other_told():
    second = Binding("shop", "zz", WEB.selector, "nginx", "eunomia/shop/z.json")
    bound = bind(pod({"name": "nginx"}), [second, WEB])
    assert bound.patch[1]["value"] == PROFILE
    assert bound.warnings == ["container nginx gets web-nginx; zz would be for it as well"]


def test_a_profile_of_the_pods_own_namespace_goes_before_one_of_the_whole_cluster():
    wide = Binding(
        "eunomia-system", "cluster-a", LabelSelector(), "nginx", "x.json", namespaces=EVERYWHERE
    )
    bound = bind(pod({"name": "nginx"}), [wide, WEB])
    assert bound.patch[1]["value"] == PROFILE
    assert bound.warnings == ["container nginx gets web-nginx; cluster-a would be for it as well"]
    assert bind(pod({"name": "nginx"}), [wide]).patch[1]["value"]["localhostProfile"] == "x.json"


def test_a_profile_that_overrides_is_not_held_up_by_a_nearer_one_that_does_not():
    wide = Binding("eunomia-system", "wide", EVERYWHERE, "nginx", "x.json", True, EVERYWHERE)
    own = {"name": "nginx", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}
    bound = bind(pod(own), [WEB, wide])
    bound_to, label = bound.patch
    assert bound_to["value"] == {"type": "Localhost", "localhostProfile": "x.json"}
    assert label["value"] == "wide"
    assert bound.warnings == ["container nginx gets wide; web-nginx would be for it as well"]

    # The API server may ask again after other webhooks: what was bound then stays, silently.
    for profile in (bound_to["value"], PROFILE):
        done = {"name": "nginx", "securityContext": {"seccompProfile": profile}}
        assert bind(pod(done), [WEB, wide]) == bind({}, [])
    privileged = {"name": "nginx", "securityContext": {"privileged": True}}
    assert bind(pod(privileged), [WEB, wide]).warnings == [
        "container nginx is privileged: web-nginx is not set"
    ]


@pytest.mark.parametrize(
    ("namespace", "selector", "reached"),
    [
        ("eunomia-system", {}, {"shop", "bank", "eunomia-system"}),
        ("eunomia-system", {"matchLabels": {"tier": "one"}}, {"bank"}),
        ("eunomia-system", None, {"eunomia-system"}),
        ("shop", {}, {"shop"}),
        ("shop", None, {"shop"}),
    ],
)
def test_only_a_profile_in_the_operators_namespace_reaches_others(
    namespace: str, selector: Any, reached: set[str]
):
    asked = {"podSelector": {}, "namespaceSelector": selector}
    body = profile(binding=asked)
    found = binding_of_ours({**body, "metadata": {"namespace": namespace, "name": "p"}})
    assert found is not None
    labels = {"shop": {}, "bank": {"tier": "one"}, "eunomia-system": {}}
    assert {each for each in labels if found.reaches(each, labels[each])} == reached


def profile(ready: str = "True", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": "web-nginx"},
        "spec": {
            "container": "nginx",
            "architectures": ["SCMP_ARCH_X86_64"],
            "version": "v3",
            "binding": {"podSelector": {"matchLabels": {"app": "web"}}},
            **spec,
        },
        "status": {
            "localhostProfile": "eunomia/shop/a.json",
            "conditions": [
                {
                    "type": "Ready",
                    "status": ready,
                    "reason": "Lies",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
        },
    }


def binding_of_ours(body: dict[str, Any]) -> Binding | None:
    return binding_of(body, "eunomia-system")


def test_a_profile_binds_once_it_lies_on_every_node():
    assert binding_of_ours(profile()) == WEB
    assert binding_of_ours(profile(ready="False")) is None
    assert binding_of_ours({**profile(), "status": None}) is None
    ready = profile()["status"]
    assert binding_of_ours({**profile(), "status": {**ready, "localhostProfile": ""}}) is None
    other = [{**ready["conditions"][0], "type": "Other"}]
    assert binding_of_ours({**profile(), "status": {**ready, "conditions": other}}) is None


def test_a_profile_that_is_only_audited_binds_nothing_and_so_does_one_that_cannot_be_read():
    assert binding_of_ours(profile(binding=None)) is None
    assert binding_of_ours(profile(version=3)) is None
