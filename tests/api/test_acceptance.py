# SPDX-License-Identifier: Apache-2.0
"""A user whose job cannot run reads which field is wrong and what is allowed there."""

from typing import Any

import pytest

from eunomia_api.acceptance import MOST_CHARACTERS, NotAccepted, accept
from eunomia_api.tracker import Catalogue, CatalogueTracker

EVERY_POD: dict[str, Any] = {"podSelector": {}}


def spec(**changes: Any) -> dict[str, Any]:
    return {"target": EVERY_POD, "trackers": [{"name": "process"}], **changes}


def refusal(catalogue: Catalogue, written: object, kind: str = "TraceJob") -> tuple[str, str]:
    with pytest.raises(NotAccepted) as refused:
        accept(kind, written, catalogue)
    return refused.value.reason, refused.value.message


def test_accepts_a_job_with_params_in_bounds(catalogue: Catalogue) -> None:
    params = {"args": True, "maxArgs": 4096}
    accepted = accept("TraceJob", spec(trackers=[{"name": "process", "params": params}]), catalogue)
    assert accepted.trackers[0].params == params
    assert accepted.budget.events_per_second_per_node == 10_000
    assert [output.type for output in accepted.output] == ["log"]


@pytest.mark.parametrize(
    ("trackers", "reason", "message"),
    [
        (
            [{"name": "process"}, {"name": "nosuch"}],
            "InvalidTracker",
            'spec.trackers[1].name: there is no tracker "nosuch"; there are: opensnoop, process',
        ),
        (
            [{"name": "process", "params": {"maxArgs": 5000}}],
            "InvalidParam",
            "spec.trackers[0].params.maxArgs: must be a whole number from 0 to 4096, not 5000",
        ),
        (
            [{"name": "process", "params": {"maxArgs": True}}],
            "InvalidParam",
            "spec.trackers[0].params.maxArgs: must be a whole number from 0 to 4096, not True",
        ),
        (
            [{"name": "process", "params": {"args": {"nested": [1]}}}],
            "InvalidParam",
            "spec.trackers[0].params.args: must be a boolean, a whole number or a string",
        ),
        (
            [{"name": "process", "params": {"color": "red"}}],
            "InvalidParam",
            'spec.trackers[0].params.color: tracker "process" has no such param; '
            "it has: args, maxArgs",
        ),
        (
            [],
            "InvalidTracker",
            "spec.trackers: List should have at least 1 item after validation, not 0",
        ),
        (
            [{"name": "process"}, {"name": "process"}],
            "InvalidTracker",
            "spec.trackers: each tracker may stand once; twice: process",
        ),
    ],
)
def test_names_the_tracker_or_param(
    catalogue: Catalogue, trackers: list[dict[str, Any]], reason: str, message: str
) -> None:
    assert refusal(catalogue, spec(trackers=trackers)) == (reason, message)


def test_names_the_part_of_a_selector_that_cannot_be_parsed(catalogue: Catalogue) -> None:
    target = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Maybe"}]}}
    assert refusal(catalogue, spec(target=target)) == (
        "InvalidSelector",
        "spec.target.podSelector.matchExpressions[0].operator: "
        "Input should be 'In', 'NotIn', 'Exists' or 'DoesNotExist'",
    )


def test_a_job_must_say_which_pods(catalogue: Catalogue) -> None:
    assert refusal(catalogue, spec(target={})) == (
        "InvalidSelector",
        "spec.target.podSelector: is required",
    )
    reason, message = refusal(catalogue, spec(target={}), "ClusterTraceJob")
    assert reason == "InvalidSpec"
    assert message.startswith("spec.target: selects nothing: give podSelector")


def test_what_is_only_counted_cannot_be_sampled(catalogue: Catalogue) -> None:
    counting = CatalogueTracker(name="files", help="Files.", sources={"counts": ["bytes"]})
    both = CatalogueTracker(name="ipc", help="IPC.", sources={"events": [], "counts": []})
    known = catalogue.model_copy(update={"trackers": [counting, both]})
    uses = [{"name": "ipc", "sample": 10}, {"name": "files", "sample": 1}]
    assert accept("TraceJob", spec(trackers=uses), known).trackers[0].sample == 10

    uses[1]["sample"] = 10
    assert refusal(known, spec(trackers=uses)) == (
        "InvalidSample",
        'spec.trackers[1].sample: must be 1 or absent, not 10: tracker "files" gives no events '
        "one by one, and what it adds up in the kernel is counted in full",
    )


def test_a_condition_that_the_columns_can_meet_is_accepted(catalogue: Catalogue) -> None:
    where = 'error == "EACCES" && path.startsWith("/etc/") && namespace != "kube-system"'
    accepted = accept(
        "TraceJob", spec(trackers=[{"name": "opensnoop", "where": where, "sample": 10}]), catalogue
    )
    assert (accepted.trackers[0].where, accepted.trackers[0].sample) == (where, 10)
    assert accepted.interval == "10s"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            'pth == "/etc"',
            'at character 1: no column "pth"; did you mean path?; there are pid, error, path, '
            "namespace, pod, pod_uid, container, container_id, image, node, kubernetes_api, labels",
        ),
        (
            'pid == "1"',
            "at character 5: == cannot compare an int with a string",
        ),
        (
            'pid > 1 &&\n  error == "ENOENTT"',
            'at line 2, character 12: error is never "ENOENTT"; did you mean ENOENT or ENOTTY or '
            "ENONET?",
        ),
        ("pid", "at character 1: it must be true or false, and is an int; compare it"),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused_with_its_place(
    catalogue: Catalogue, where: str, message: str
) -> None:
    trackers = [{"name": "process"}, {"name": "opensnoop", "where": where}]
    assert refusal(catalogue, spec(trackers=trackers)) == (
        "InvalidWhere",
        f"spec.trackers[1].where: {message}",
    )


def test_a_condition_is_bounded(catalogue: Catalogue) -> None:
    where = "pid == 1 || " * 200 + "pid == 2"
    reason, message = refusal(catalogue, spec(trackers=[{"name": "opensnoop", "where": where}]))
    assert (reason, message) == (
        "InvalidWhere",
        "spec.trackers[0].where: String should have at most 2048 characters",
    )
    where = "!" * 2000 + "true"
    reason, message = refusal(catalogue, spec(trackers=[{"name": "opensnoop", "where": where}]))
    assert reason == "InvalidWhere"
    assert message.endswith("it is nested more than 32 deep")


@pytest.mark.parametrize("interval", ["500ms", "11m"])
def test_an_interval_has_bounds(catalogue: Catalogue, interval: str) -> None:
    assert refusal(catalogue, spec(interval=interval)) == (
        "InvalidSpec",
        f"spec.interval: {interval} is out of bounds: at least 1s, at most 10m",
    )


def test_duration_has_bounds(catalogue: Catalogue) -> None:
    assert refusal(catalogue, spec(duration="169h")) == (
        "InvalidSpec",
        "spec.duration: 169h is out of bounds: more than 0s, at most 168h",
    )


def test_what_is_no_field_is_named(catalogue: Catalogue) -> None:
    assert refusal(catalogue, spec(durations="1h")) == (
        "InvalidSpec",
        "spec.durations: there is no such field",
    )


@pytest.mark.parametrize("written", [None, [], "spec", 5, {"trackers": {"a": 1}, "target": 7}])
def test_whatever_stands_there_is_refused_and_nothing_else_happens(
    catalogue: Catalogue, written: object
) -> None:
    reason, message = refusal(catalogue, written)
    assert reason.startswith("Invalid")
    assert message.startswith("spec")


def test_a_hostile_job_gets_a_short_answer(catalogue: Catalogue) -> None:
    params = {f"p{number}" + "x" * 50: {"deep": "x" * 1000} for number in range(32)}
    reason, message = refusal(catalogue, spec(trackers=[{"name": "process", "params": params}]))
    assert reason == "InvalidParam"
    assert message.endswith("and 29 more")
    assert len(message) <= MOST_CHARACTERS
