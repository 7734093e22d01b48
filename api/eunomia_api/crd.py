# SPDX-License-Identifier: Apache-2.0
"""CustomResourceDefinitions, generated from the models: `python -m eunomia_api.crd [DIRECTORY]`.

The schema is structural, as apiextensions.k8s.io/v1 asks: no references, each part with one type,
and every list, map and string bounded, so that the API server can tell the cost of the CEL rules.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from eunomia_api import GROUP, VERSION
from eunomia_api.tracejob import ClusterTraceJob, TraceJob

KINDS: tuple[type[TraceJob] | type[ClusterTraceJob], ...] = (TraceJob, ClusterTraceJob)
SHORT_NAMES = {TraceJob: "tj", ClusterTraceJob: "ctj"}

Schema = dict[str, Any]

LARGEST_EXACT = 2**53
"""The API server compares with bounds as float64: 2^63-1 becomes one that no number is below."""

# Said by the models in a form that a structural schema has no word for, or no need of.
_LEFT_OUT = {"title", "discriminator", "propertyNames", "$defs", "const"}


def _rule(field: str, rule: str, message: str, reason: str) -> Schema:
    return {"rule": rule, "message": message, "reason": reason, "fieldPath": f".{field}"}


def _immutable(field: str, *, optional: bool = False) -> Schema:
    same = f"self.{field} == oldSelf.{field}"
    if optional:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return _rule(field, same, f"{field} is immutable", "FieldValueForbidden")


# All rules stand at the spec: a rule on a property does not fire when it is added or removed.
_COMMON = [
    _immutable("target"),
    _rule(
        "trackers",
        "self.trackers.size() == oldSelf.trackers.size()"
        " && self.trackers.all(t, oldSelf.trackers.exists(o, o.name == t.name))",
        "the names of trackers are immutable; their params, where and sample may change",
        "FieldValueForbidden",
    ),
    _immutable("duration", optional=True),
    _immutable("output", optional=True),
    _rule(
        "duration",
        "!has(self.duration) || (duration(self.duration) > duration('0s')"
        " && duration(self.duration) <= duration('168h'))",
        "duration must be more than 0s and at most 168h",
        "FieldValueInvalid",
    ),
    _rule(
        "interval",
        "!has(self.interval) || (duration(self.interval) >= duration('1s')"
        " && duration(self.interval) <= duration('10m'))",
        "interval must be at least 1s and at most 10m",
        "FieldValueInvalid",
    ),
]
_CLUSTER = [
    _rule(
        "target",
        "has(self.target.podSelector) || (has(self.target.host) && self.target.host)",
        "target selects nothing: give podSelector ({} for every pod) or host: true",
        "FieldValueInvalid",
    ),
]
_REQUIREMENT = [
    {
        "rule": "self.operator in ['In', 'NotIn']"
        " ? has(self.values) && self.values.size() > 0"
        " : !has(self.values) || self.values.size() == 0",
        "message": "In and NotIn need values; Exists and DoesNotExist take none",
        "reason": "FieldValueInvalid",
    }
]
RULES: dict[str, list[Schema]] = {
    "TraceJobSpec": _COMMON,
    "ClusterTraceJobSpec": _COMMON + _CLUSTER,
    "LabelSelectorRequirement": _REQUIREMENT,
}
"""CEL rules by the name of the model that they stand at."""


def _columns() -> list[Schema]:
    def column(name: str, kind: str, path: str, help_: str, **more: object) -> Schema:
        return {"name": name, "type": kind, "jsonPath": path, "description": help_, **more}

    accepted = '.status.conditions[?(@.type=="Accepted")].reason'
    return [
        column("Phase", "string", ".status.phase", "Where the job stands."),
        column("Trackers", "string", ".status.trackers", "Names of the trackers."),
        column("Pods", "integer", ".status.pods", "Pods that the job covers."),
        column("Nodes", "integer", ".status.nodes.desired", "Nodes that the job is meant for."),
        column("Events", "integer", ".status.events.matched", "Events of the job so far."),
        column("Lost", "integer", ".status.events.lost", "Events that found a buffer full."),
        column("Complete%", "integer", ".status.completenessPercent", "Share of events delivered."),
        column("Age", "date", ".metadata.creationTimestamp", "Since when the job exists."),
        column("Accepted", "string", accepted, "Why the job was refused, if so.", priority=1),
        column("Deadline", "string", ".status.deadline", "When the job will be over.", priority=1),
    ]


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return a part of a JSON schema with its reference or its `X | None` put in place."""
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        return {**named, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema:
        # X | None: that there is none, a resource says by absence.
        (only,) = [option for option in schema["anyOf"] if option != {"type": "null"}]
        outside = {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
        return _resolved({**only, **outside}, definitions)
    return schema


def _structural(part: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return a part of a JSON schema as a structural schema."""
    schema = _resolved(part, definitions)
    result = {key: value for key, value in schema.items() if key not in _LEFT_OUT}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "properties" in result:
        result["properties"] = {
            name: _structural(inner, definitions) for name, inner in result["properties"].items()
        }
    if "items" in result:
        result["items"] = _structural(result["items"], definitions)
    values = result.pop("additionalProperties", False)
    # False is what pruning and strict validation do; an open map is said by its own mark.
    if isinstance(values, dict) and "x-kubernetes-preserve-unknown-fields" not in result:
        result["additionalProperties"] = _structural(values, definitions)
    if result.get("maximum", 0) > LARGEST_EXACT:
        del result["maximum"]
    if schema.get("title") in RULES:
        result["x-kubernetes-validations"] = RULES[schema["title"]]
    return result


def _without_defaults(schema: Schema) -> Schema:
    """Return a schema whose objects hold just what was written to them."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {k: _without_defaults(v) for k, v in result["properties"].items()}
    if isinstance(result.get("items"), dict):
        result["items"] = _without_defaults(result["items"])
    return result


def schema(model: type[TraceJob] | type[ClusterTraceJob]) -> Schema:
    """Return the structural OpenAPI v3 schema of a kind."""
    generated = model.model_json_schema(by_alias=True, mode="validation")
    whole = _structural(generated, generated["$defs"])
    properties = whole["properties"]
    return {
        "description": whole["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": properties["spec"],
            "status": _without_defaults(properties["status"]),
        },
    }


def definition(model: type[TraceJob] | type[ClusterTraceJob]) -> Schema:
    """Return the CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{model.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if model.NAMESPACED else "Cluster",
            "names": {
                "kind": model.KIND,
                "listKind": f"{model.KIND}List",
                "plural": model.PLURAL,
                "singular": model.KIND.lower(),
                "shortNames": [SHORT_NAMES[model]],
                "categories": ["eunomia"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": schema(model)},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(model: type[TraceJob] | type[ClusterTraceJob]) -> str:
    body: str = yaml.dump(
        definition(model), Dumper=_Dumper, sort_keys=False, width=98, allow_unicode=True
    )
    return (
        "# SPDX-License-Identifier: Apache-2.0\n"
        "# Generated from the models: python -m eunomia_api.crd crds\n" + body
    )


def manifests() -> dict[str, str]:
    """Return the text of each file of crds/ by its name."""
    return {f"{GROUP}_{model.PLURAL}.yaml": _text(model) for model in KINDS}


def main(arguments: list[str]) -> int:
    """Write the files into a directory (crds when none is given), or --check those there.

    Returns 1 when a file that is checked is not what would be written.
    """
    check = "--check" in arguments
    places = [argument for argument in arguments if argument != "--check"]
    directory = Path(places[0] if places else "crds")
    if check:
        return _check(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in manifests().items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0


def _check(directory: Path) -> int:
    stale = [
        name
        for name, text in manifests().items()
        if not (directory / name).is_file() or (directory / name).read_text("utf-8") != text
    ]
    for name in stale:
        print(f"{directory / name} is not what the models say: run python -m eunomia_api.crd")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
