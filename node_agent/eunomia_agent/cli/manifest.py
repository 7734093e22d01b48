# SPDX-License-Identifier: Apache-2.0
"""A TraceJob or ClusterTraceJob in a file, judged as the operator judges it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from eunomia_agent.cli.document import read
from eunomia_agent.cli.errors import CommandError
from eunomia_api import API_VERSION, agent_pb2
from eunomia_api.acceptance import KINDS, NotAccepted, Spec, accept
from eunomia_api.document import Document, Place
from eunomia_api.duration import seconds
from eunomia_api.message import job_message
from eunomia_api.selector import LabelSelector
from eunomia_api.tracejob import ClusterTraceJobSpec
from eunomia_api.tracker import Catalogue

NAMESPACE = "default"
_PART = re.compile(r"\.([^.\[\]:]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A job to run here. seconds: how long; None until it is told to end."""

    job: agent_pb2.Job
    seconds: float | None


def load(path: Path) -> Manifest:
    """Read and judge a job. Raises CommandError with FILE:LINE and the path of the field.

    Its budget of events holds only where it is written down. nodeSelector and output are not
    looked at: the job runs here, and its rows go where the command line says.
    """
    document = read(path)
    written = document.value
    if not isinstance(written, dict):
        raise _wrong(document, (), "holds no object; it needs apiVersion, kind, metadata and spec")
    kind = written.get("kind")
    if kind not in KINDS:
        known = " or ".join(KINDS)
        raise _wrong(document, ("kind",), f"kind: must be {known}, not {_shown(kind)}")
    if written.get("apiVersion") != API_VERSION:
        raise _wrong(
            document,
            ("apiVersion",),
            f"apiVersion: must be {API_VERSION}, not {_shown(written.get('apiVersion'))}",
        )
    name, namespace = _names(document, written.get("metadata"), kind)
    try:
        spec = accept(kind, written.get("spec"), Catalogue.load())
    except NotAccepted as refused:
        raise _wrong(document, _place(refused.message), refused.message) from None
    _check_fit(document, spec)
    job = job_message(
        spec,
        uid=f"{namespace}/{name}" if namespace else name,
        kind=kind,
        namespace=namespace,
        name=name,
        generation=1,
        deadline=None,
        namespaces=None,
    )
    budget = cast(Mapping[str, Any], written["spec"]).get("budget") or {}
    if "eventsPerSecondPerNode" not in budget:
        job.budget.events_per_second = 0
    return Manifest(job, None if spec.duration is None else seconds(spec.duration))


def _names(document: Document, metadata: object, kind: str) -> tuple[str, str]:
    found = metadata if isinstance(metadata, dict) else {}
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(document, ("metadata",), "metadata.name: is required")
    if kind != "TraceJob":
        return name, ""
    namespace = found.get("namespace", NAMESPACE)
    if not isinstance(namespace, str) or not namespace:
        raise _wrong(document, ("metadata", "namespace"), "metadata.namespace: must be a name")
    return name, namespace


def _check_fit(document: Document, spec: Spec) -> None:
    """Refuse what only a cluster can do."""
    if spec.suspend:
        raise _wrong(document, ("spec", "suspend"), "spec.suspend: there is nothing to resume it")
    if isinstance(spec, ClusterTraceJobSpec) and spec.target.namespace_selector not in (
        None,
        LabelSelector(),
    ):
        raise _wrong(
            document,
            ("spec", "target", "namespaceSelector"),
            "spec.target.namespaceSelector: only a cluster knows the labels of namespaces; write "
            "a TraceJob for one namespace, or leave it out for all",
        )


def _place(message: str) -> Place:
    """Return the part of the document that an error is about: it begins with the field's path."""
    path = message.partition(": ")[0].removeprefix("spec")
    parts = [name or int(index) for name, index in _PART.findall(path)]
    return ("spec", *parts)


def _wrong(document: Document, place: Place, message: str) -> CommandError:
    return CommandError(document.problem(place, message))


def _shown(value: object) -> str:
    return "absent" if value is None else repr(value)[:60]
