# SPDX-License-Identifier: Apache-2.0
"""What the API server itself refuses: rules in CEL, beside the bounds of the schema.

See "Validation rules" of CustomResourceDefinitions in the Kubernetes documentation.
"""

from typing import Any

Schema = dict[str, Any]

INVALID = "FieldValueInvalid"
FORBIDDEN = "FieldValueForbidden"


def _rule(field: str, rule: str, message: str, reason: str = INVALID) -> Schema:
    return {"rule": rule, "message": message, "reason": reason, "fieldPath": f".{field}"}


def _span(field: str, least: str, most: str, *, name: str = "", above: bool = False) -> Schema:
    """Return a rule on a Go duration; name: as CEL spells the field."""
    value = f"self.{name or field}"
    words = f"more than {least}" if above else f"at least {least}"
    return _rule(
        field,
        f"!has({value}) || (duration({value}) {'>' if above else '>='} duration('{least}')"
        f" && duration({value}) <= duration('{most}'))",
        f"{field} must be {words} and at most {most}",
    )


def _immutable(field: str, *, optional: bool = False) -> Schema:
    same = f"self.{field} == oldSelf.{field}"
    if optional:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return _rule(field, same, f"{field} is immutable", FORBIDDEN)


# All rules stand at the spec: a rule on a property does not fire when it is added or removed.
_JOB = [
    _immutable("target"),
    _rule(
        "trackers",
        "self.trackers.size() == oldSelf.trackers.size()"
        " && self.trackers.all(t, oldSelf.trackers.exists(o, o.name == t.name))",
        "the names of trackers are immutable; their params, where and sample may change",
        FORBIDDEN,
    ),
    _immutable("duration", optional=True),
    _immutable("output", optional=True),
    _span("duration", "0s", "168h", above=True),
    _span("interval", "1s", "10m"),
]
_CLUSTER = [
    _rule(
        "target",
        "has(self.target.podSelector) || (has(self.target.host) && self.target.host)",
        "target selects nothing: give podSelector ({} for every pod) or host: true",
    ),
]
_REQUIREMENT = [
    {
        "rule": "self.operator in ['In', 'NotIn']"
        " ? has(self.values) && self.values.size() > 0"
        " : !has(self.values) || self.values.size() == 0",
        "message": "In and NotIn need values; Exists and DoesNotExist take none",
        "reason": INVALID,
    }
]
_POLICY = [_immutable("target"), _immutable("output", optional=True)]
_ENFORCE = [
    _rule(
        "spec.seccomp.mode",
        "!has(self.spec.seccomp) || self.spec.seccomp.mode != 'Enforce' || self.spec.seccomp.force"
        " || !has(oldSelf.spec.seccomp) || oldSelf.spec.seccomp.mode != 'Audit'"
        " || !has(self.status) || !has(self.status.seccomp)"
        " || !has(self.status.seccomp.refusals) || self.status.seccomp.refusals == 0",
        "Audit still sees calls that the profile would refuse (status.seccomp.refusals): allow"
        " them, or set force",
        FORBIDDEN,
    ),
]
"""At the object itself, as it looks at its status."""
_RULE = [
    _rule(
        "within",
        "!has(self.count) || self.count == 1 || has(self.within)",
        "count needs within: in how long so many must be seen",
    ),
    _rule(
        "within",
        "!has(self.within) || has(self.__for__) || (has(self.count) && self.count > 1)",
        "within needs count (more than 1) or for",
    ),
    _rule(
        "count",
        "!has(self.__for__) || !has(self.count) || self.count == 1",
        "count and for exclude each other: make two rules",
    ),
    _rule(
        "distinct",
        "!has(self.distinct) || (has(self.count) && self.count > 1 && self.count <= 1000)",
        "distinct needs a count from 2 to 1000",
    ),
    _span("within", "0s", "1h", above=True),
    _span("for", "0s", "1h", name="__for__", above=True),
    _span("deduplicate", "0s", "24h"),
]
RULES: dict[str, list[Schema]] = {
    "TraceJobSpec": _JOB,
    "ClusterTraceJobSpec": _JOB + _CLUSTER,
    "SecurityPolicy": _ENFORCE,
    "SecurityPolicySpec": _POLICY,
    "ClusterSecurityPolicy": _ENFORCE,
    "ClusterSecurityPolicySpec": _POLICY + _CLUSTER,
    "Rule": _RULE,
    "Convergence": [_span("quietPeriod", "0s", "168h")],
    "Responses": [_span("whenDisconnected", "0s", "168h")],
    "LabelSelectorRequirement": _REQUIREMENT,
}
"""CEL rules by the name of the model that they stand at."""
