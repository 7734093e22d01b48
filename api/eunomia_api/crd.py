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
from eunomia_api.alertreport import AlertReport
from eunomia_api.policy import ClusterSecurityPolicy, SecurityPolicy
from eunomia_api.printer import COLUMNS
from eunomia_api.seccomp import SeccompProfile
from eunomia_api.tracejob import ClusterTraceJob, TraceJob
from eunomia_api.validation import RULES, Schema

Kind = (
    type[TraceJob]
    | type[ClusterTraceJob]
    | type[SecurityPolicy]
    | type[ClusterSecurityPolicy]
    | type[SeccompProfile]
    | type[AlertReport]
)
SHORT_NAMES: Mapping[Kind, str] = {
    TraceJob: "tj",
    ClusterTraceJob: "ctj",
    SecurityPolicy: "secpol",
    ClusterSecurityPolicy: "csecpol",
    SeccompProfile: "scmp",
    AlertReport: "alr",
}
KINDS: tuple[Kind, ...] = tuple(SHORT_NAMES)

LARGEST_EXACT = 2**53
"""The API server compares with bounds as float64: 2^63-1 becomes one that no number is below."""

# Said by the models in a form that a structural schema has no word for, or no need of.
_LEFT_OUT = {"title", "discriminator", "propertyNames", "$defs", "const"}


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
    if "default" in result:
        result["default"] = _without_nulls(result["default"])
    # A field's name is a title, too: only an object is a model.
    if schema.get("type") == "object" and schema.get("title") in RULES:
        result["x-kubernetes-validations"] = RULES[schema["title"]]
    return result


def _without_nulls(value: Any) -> Any:
    """Return a default as the API server takes it: what is not there is absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value


def _without_defaults(schema: Schema) -> Schema:
    """Return a schema whose objects hold just what was written to them."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {k: _without_defaults(v) for k, v in result["properties"].items()}
    if isinstance(result.get("items"), dict):
        result["items"] = _without_defaults(result["items"])
    return result


def schema(model: Kind) -> Schema:
    """Return the structural OpenAPI v3 schema of a kind."""
    generated = model.model_json_schema(by_alias=True, mode="validation")
    whole = _structural(generated, generated["$defs"])
    parts = {
        name: part if name == "spec" else _without_defaults(part)
        for name, part in whole["properties"].items()
        if name not in ("apiVersion", "kind", "metadata")
    }
    found: Schema = {
        "description": whole["description"],
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **parts,
        },
    }
    if "spec" in parts:
        found["required"] = ["spec"]
    if "x-kubernetes-validations" in whole:
        found["x-kubernetes-validations"] = whole["x-kubernetes-validations"]
    return found


def definition(model: Kind) -> Schema:
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
                    **({"subresources": {"status": {}}} if "status" in model.model_fields else {}),
                    "additionalPrinterColumns": COLUMNS[model.KIND],
                    "schema": {"openAPIV3Schema": schema(model)},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(model: Kind) -> str:
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
