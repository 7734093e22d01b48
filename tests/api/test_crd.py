# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions that users apply are those of the models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eunomia_api import crd
from eunomia_api.tracejob import ClusterTraceJob, TraceJob

CRDS = Path(__file__).parents[2] / "crds"
KINDS = pytest.mark.parametrize("kind", [TraceJob, ClusterTraceJob])


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
    assert [path.name for path in written] == [
        "eunomia.dev_clustertracejobs.yaml",
        "eunomia.dev_tracejobs.yaml",
    ]
    names = [yaml.safe_load(path.read_text())["metadata"]["name"] for path in written]
    assert names == ["clustertracejobs.eunomia.dev", "tracejobs.eunomia.dev"]


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
def test_schema_is_structural(kind: type[TraceJob] | type[ClusterTraceJob]) -> None:
    foreign = {"$ref", "$defs", "title", "anyOf", "oneOf", "discriminator", "const"}
    for path, part in parts(crd.schema(kind)):
        assert isinstance(part.get("type"), str), path
        assert not foreign & part.keys(), path
        assert part.get("additionalProperties") is not False, path


@KINDS
def test_everything_in_spec_is_bounded_so_that_rules_have_a_cost(
    kind: type[TraceJob] | type[ClusterTraceJob],
) -> None:
    for path, part in parts(crd.schema(kind)["properties"]["spec"]):
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
def test_every_field_explains_itself(kind: type[TraceJob] | type[ClusterTraceJob]) -> None:
    whole = crd.schema(kind)
    silent = [
        path
        for section in ("spec", "status")
        for path, part in parts(whole["properties"][section], section)
        if not path.endswith("[]") and not part.get("description")
    ]
    assert silent == []
    assert whole["description"]


@KINDS
def test_status_is_never_defaulted(kind: type[TraceJob] | type[ClusterTraceJob]) -> None:
    status = crd.schema(kind)["properties"]["status"]
    assert [path for path, part in parts(status) if "default" in part] == []


def test_what_may_not_change_has_one_rule_a_field_and_only_the_cluster_kind_must_select() -> None:
    def rules(kind: type[TraceJob] | type[ClusterTraceJob]) -> list[tuple[str, str]]:
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


@KINDS
def test_kubectl_get_shows_what_matters(kind: type[TraceJob] | type[ClusterTraceJob]) -> None:
    spec = crd.definition(kind)["spec"]
    (version,) = spec["versions"]
    shown = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]
    assert shown == ["Phase", "Trackers", "Pods", "Nodes", "Events", "Lost", "Complete%", "Age"]
    assert version["subresources"] == {"status": {}}
    assert spec["names"]["categories"] == ["eunomia"]
    assert spec["names"]["shortNames"] == ["tj" if kind is TraceJob else "ctj"]


@KINDS
def test_no_bound_is_too_large_for_a_float64(kind: type[TraceJob] | type[ClusterTraceJob]) -> None:
    bounds = [
        part["maximum"]
        for _, part in parts(crd.schema(kind))
        if part.get("type") == "integer"
        if "maximum" in part
    ]
    assert bounds
    assert all(int(float(bound)) == bound for bound in bounds)
