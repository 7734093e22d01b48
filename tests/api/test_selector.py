# SPDX-License-Identifier: Apache-2.0
"""A user's pod selector means what the same words mean to kubectl."""

import pytest
from pydantic import ValidationError

from eunomia_api.selector import LabelSelector

WEB = {"app": "web", "tier": "front", "example.com/team": "a"}


def expression(key: str, operator: str, *values: str) -> LabelSelector:
    return LabelSelector.model_validate(
        {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    )


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (LabelSelector(), True),
        (LabelSelector(match_labels={"app": "web"}), True),
        (LabelSelector(match_labels={"app": "web", "tier": "back"}), False),
        (LabelSelector(match_labels={"app": ""}), False),
        (LabelSelector(match_labels={"absent": ""}), False),
        (expression("app", "In", "db", "web"), True),
        (expression("absent", "In", "web"), False),
        (expression("app", "NotIn", "db"), True),
        (expression("app", "NotIn", "web"), False),
        (expression("absent", "NotIn", "web"), True),
        (expression("example.com/team", "Exists"), True),
        (expression("absent", "Exists"), False),
        (expression("absent", "DoesNotExist"), True),
        (expression("app", "DoesNotExist"), False),
    ],
)
def test_selector_reads_as_kubernetes_reads_it(selector: LabelSelector, selected: bool) -> None:
    assert selector.matches(WEB) is selected


def test_all_parts_must_hold() -> None:
    both = LabelSelector.model_validate(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
        }
    )
    assert both.matches(WEB)
    assert not both.matches(WEB | {"tier": "back"})
    assert not both.matches(WEB | {"app": "db"})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"matchLabels": {"-app": "web"}}, "'-app' is no label key"),
        ({"matchLabels": {"Example.com/app": "web"}}, "before the slash must be a DNS name"),
        ({"matchLabels": {"a/b/c": "web"}}, "before the slash must be a DNS name"),
        ({"matchLabels": {"/app": "web"}}, "before the slash must be a DNS name"),
        ({"matchLabels": {"app": "no space"}}, "'no space' is no label value"),
        ({"matchLabels": {"app": "line\n"}}, "is no label value"),
        ({"matchLabels": {"app": "v" * 64}}, "at most 63"),
        ({"matchLabels": {f"k{n}": "v" for n in range(65)}}, "at most 64"),
        ({"matchLabels": {"app": 1}}, "valid string"),
        ({"matchExpressions": [{"key": "app", "operator": "In"}]}, "In needs at least one value"),
        (
            {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["web"]}]},
            "Exists takes no values",
        ),
        ({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, "'NotIn'"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}] * 33}, "at most 32"),
        (
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["v"] * 65}]},
            "at most 64",
        ),
        ({"matchLabel": {"app": "web"}}, "Extra inputs"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_with_the_reason(
    written: dict[str, object], told: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        LabelSelector.model_validate(written)
    assert told in str(refused.value)


def test_round_trip_keeps_the_names_that_users_write() -> None:
    written = {
        "matchLabels": {"example.com/app": ""},
        "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}],
    }
    assert LabelSelector.model_validate(written).model_dump(by_alias=True) == written
