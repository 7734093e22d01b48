# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions that users apply are those of the models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eunomia_api import crd
from eunomia_api.crd import Kind
from eunomia_api.policy import ClusterSecurityPolicy, SecurityPolicy
from eunomia_api.tracejob import ClusterTraceJob, TraceJob

CRDS = Path(__file__).parents[2] / "crds"
KINDS = pytest.mark.parametrize("kind", crd.KINDS, ids=[kind.KIND for kind in crd.KINDS])


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from parts(schema[key], f"{path}[]")


def test_committed_files_are_the_generated_ones() -> None:
    committed = {
        path.name: path.read_text(encoding="utf-8") for path in CRDS.glob("eunomia.dev_*.yaml")
    }
    assert committed == crd.manifests(), "run: python -m eunomia_api.crd crds"


def test_writes_into_the_directory_that_is_named(tmp_path: Path) -> None:
    assert crd.main([str(tmp_path / "out")]) == 0
    written = sorted((tmp_path / "out").iterdir())
    plurals = [
        *("alertreports", "clustersecuritypolicies", "clustertracejobs"),
        *("seccompprofiles", "securitypolicies", "tracejobs"),
    ]
    assert [path.name for path in written] == [f"eunomia.dev_{each}.yaml" for each in plurals]
    names = [yaml.safe_load(path.read_text())["metadata"]["name"] for path in written]
    assert names == [f"{each}.eunomia.dev" for each in plurals]


def test_whoever_applies_the_folder_gets_all_kinds() -> None:
    listed = yaml.safe_load((CRDS / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == sorted(crd.manifests())


def test_a_check_tells_of_files_that_are_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [str(tmp_path)]
    assert crd.main([*where, "--check"]) == 1
    crd.main(where)
    assert crd.main(["--check", *where]) == 0
    stale = tmp_path / "eunomia.dev_tracejobs.yaml"
    stale.write_text(f"{stale.read_text()}# by hand\n")
    capsys.readouterr()
    assert crd.main([*where, "--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{stale} is not what the models say")


@KINDS
def test_schema_is_structural(kind: Kind) -> None:
    foreign = {"$ref", "$defs", "title", "anyOf", "oneOf", "discriminator", "const"}
    for path, part in parts(crd.schema(kind)):
        assert isinstance(part.get("type"), str), path
        assert not foreign & part.keys(), path
        assert part.get("additionalProperties") is not False, path


@KINDS
def test_everything_in_spec_is_bounded_so_that_rules_have_a_cost(
    kind: Kind,
) -> None:
    spec = crd.schema(kind)["properties"].get("spec")
    for path, part in parts(spec) if spec else []:
        match part["type"]:
            case "string":
                assert "maxLength" in part or "enum" in part, path
            case "array":
                assert "maxItems" in part, path
            case "object":
                assert "properties" in part or "maxProperties" in part, path
            case "integer":
                assert {"minimum", "maximum"} <= part.keys(), path


@KINDS
def test_every_field_explains_itself(kind: Kind) -> None:
    whole = crd.schema(kind)
    silent = [
        path
        for section, within in whole["properties"].items()
        if section not in ("apiVersion", "kind", "metadata")
        for path, part in parts(within, section)
        if not path.endswith("[]") and not part.get("description")
    ]
    assert silent == []
    assert whole["description"]


@KINDS
def test_status_is_never_defaulted(kind: Kind) -> None:
    told = {k: v for k, v in crd.schema(kind)["properties"].items() if k != "spec"}
    assert [path for part in told.values() for path, p in parts(part) if "default" in p] == []


@KINDS
def test_what_a_program_tells_is_bounded(kind: Kind) -> None:
    told = {k: v for k, v in crd.schema(kind)["properties"].items() if k not in ("spec", "kind")}
    told = {k: v for k, v in told.items() if k not in ("apiVersion", "metadata")}
    assert told
    for section, within in told.items():
        for path, part in parts(within, section):
            match part["type"]:
                case "string":
                    bounded = {"maxLength", "enum"} & part.keys()
                    assert bounded or part.get("format") == "date-time", path
                case "array":
                    assert "maxItems" in part, path
                case "object":
                    assert "properties" in part, path


def test_no_default_holds_what_the_api_server_takes_for_a_wrong_type() -> None:
    def nulls(value: object) -> bool:
        if isinstance(value, dict):
            return any(nulls(part) for part in value.values())
        return value is None

    for kind in crd.KINDS:
        found = [path for path, part in parts(crd.schema(kind)) if nulls(part.get("default", 0))]
        assert found == [], kind.KIND


def test_rules_stand_at_objects_alone() -> None:
    # A field named rule is titled like the model Rule.
    for kind in crd.KINDS:
        for path, part in parts(crd.schema(kind)):
            assert "x-kubernetes-validations" not in part or part["type"] == "object", path


def test_a_policy_is_held_to_what_its_status_says_only_at_the_object_itself() -> None:
    whole = crd.schema(SecurityPolicy)
    (enforce,) = whole["x-kubernetes-validations"]
    assert enforce["fieldPath"] == ".spec.seccomp.mode"
    assert "self.status.seccomp.refusals == 0" in enforce["rule"]
    spec = whole["properties"]["spec"]
    fields = [rule["fieldPath"] for rule in spec["x-kubernetes-validations"]]
    assert fields == [".target", ".output"]
    own = spec["properties"]["rules"]["properties"]["custom"]
    assert (own["maxItems"], own["x-kubernetes-list-map-keys"]) == (32, ["name"])
    words = [rule["message"] for rule in own["items"]["x-kubernetes-validations"]]
    assert "count needs within: in how long so many must be seen" in words
    assert "for" in own["items"]["properties"]
    assert "examples" not in own["items"]["properties"]


def test_what_may_not_change_has_one_rule_a_field_and_only_the_cluster_kind_must_select() -> None:
    def rules(kind: Kind) -> list[tuple[str, str]]:
        spec = crd.schema(kind)["properties"]["spec"]
        return [(r["fieldPath"], r["message"]) for r in spec["x-kubernetes-validations"]]

    common = [
        (".target", "target is immutable"),
        (
            ".trackers",
            "the names of trackers are immutable; their params, where and sample may change",
        ),
        (".duration", "duration is immutable"),
        (".output", "output is immutable"),
        (".duration", "duration must be more than 0s and at most 168h"),
        (".interval", "interval must be at least 1s and at most 10m"),
    ]
    assert rules(TraceJob) == common
    assert rules(ClusterTraceJob) == [
        *common,
        (".target", "target selects nothing: give podSelector ({} for every pod) or host: true"),
    ]


SHOWN = {
    "TraceJob": ["Phase", "Trackers", "Pods", "Nodes", "Events", "Lost", "Complete%", "Age"],
    "SecurityPolicy": ["Mode", "Rules", "Alerts", "Warnings", "Profile", "Pods", "Ready", "Age"],
    "SeccompProfile": ["Version", "Base", "Ready", "Nodes", "Age"],
    "AlertReport": ["Alerts", "Newest", "Rule", "Pod", "Age"],
}


@KINDS
def test_kubectl_get_shows_what_matters(kind: Kind) -> None:
    spec = crd.definition(kind)["spec"]
    (version,) = spec["versions"]
    shown = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]
    assert shown == SHOWN[kind.KIND.removeprefix("Cluster")]
    assert ("status" in version["schema"]["openAPIV3Schema"]["properties"]) == (
        version.get("subresources") == {"status": {}}
    )
    assert spec["names"]["categories"] == ["eunomia"]
    assert spec["scope"] == (
        "Cluster" if kind in (ClusterTraceJob, ClusterSecurityPolicy) else "Namespaced"
    )


def test_short_names_are_short_and_each_is_one_kinds() -> None:
    names = [crd.definition(kind)["spec"]["names"]["shortNames"] for kind in crd.KINDS]
    assert names == [["tj"], ["ctj"], ["secpol"], ["csecpol"], ["scmp"], ["alr"]]


def test_no_bound_is_too_large_for_a_float64() -> None:
    bounds = [
        part["maximum"]
        for kind in crd.KINDS
        for _, part in parts(crd.schema(kind))
        if part.get("type") == "integer"
        if "maximum" in part
    ]
    assert bounds
    assert all(int(float(bound)) == bound for bound in bounds)
