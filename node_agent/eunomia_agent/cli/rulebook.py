# SPDX-License-Identifier: Apache-2.0
"""Rules of files and of the library, as a guard takes them.

Loads pydantic and YAML.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eunomia_agent.cli.catalogue import catalogue
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.jobs.enforceable import Enforceable
from eunomia_agent.rules.errors import RuleInvalid
from eunomia_agent.rules.judge import compile_rule
from eunomia_api import API_VERSION, agent_pb2, document
from eunomia_api.document import Document, DocumentInvalid, Place
from eunomia_api.library import Library, NoSuchRule, built_in
from eunomia_api.message import policy_messages, rule_message
from eunomia_api.policy_acceptance import KINDS, NotAccepted, accept_policy
from eunomia_api.rule import LibraryRule, RuleGroup
from eunomia_api.tracker import Catalogue

NAMESPACE = "default"
"""Of a policy: whose rows are judged does not depend on it."""


@dataclass(frozen=True, slots=True)
class Written:
    """Rules as a file has them.

    rules: those that can be judged; problems: FILE:LINE and why, of the others; models: the rules
    of a group by their names on the wire, with their places.
    """

    document: Document
    rules: list[agent_pb2.Rule]
    problems: list[str]
    models: Mapping[str, tuple[LibraryRule, Place]]


def library() -> Library:
    """Return the built-in rules. Raises CommandError."""
    try:
        return built_in()
    except DocumentInvalid as error:
        raise CommandError(_joined(error)) from None


def chosen(names: Iterable[str]) -> list[agent_pb2.Rule]:
    """Return built-in rules: whole groups, or GROUP/NAME. Raises CommandError."""
    try:
        found = library().select(names)
    except NoSuchRule as error:
        raise CommandError(str(error)) from None
    return [rule_message(rule, name) for name, rule in found.items()]


def why_not_enforced(names: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Return of built-in rules, by response, why the kernel cannot give it; empty where it can.

    names: GROUP/NAME, of rules that there are.
    """
    enforceable, rules = Enforceable(catalogue()), library().rules
    return {name: enforceable.why_not(rule_message(rules[name], name)) for name in names}


def load(path: Path) -> Written:
    """Read a file of rules, or of a policy. Raises CommandError with FILE:LINE."""
    try:
        with path.open("rb") as file:
            data = file.read(document.MAX_BYTES + 1)
        found = document.read(str(path), data)
        if isinstance(found.value, dict) and "kind" in found.value:
            return _of_policy(found, found.value)
        return _of_group(found, found.validated(RuleGroup))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except DocumentInvalid as error:
        raise CommandError(_joined(error)) from None


def _of_group(found: Document, group: RuleGroup) -> Written:
    written = Written(found, [], [], {})
    models: dict[str, tuple[LibraryRule, Place]] = {}
    for number, rule in enumerate(group.rules):
        name, place = f"{group.group}/{rule.name}", ("rules", number)
        message = rule_message(rule, name)
        models[name] = rule, place
        try:
            compile_rule(message, catalogue().trackers)
        except RuleInvalid as error:
            where = (*place, *error.field)
            written.problems.append(found.problem(where, f"{rule.name}: {error}"))
        else:
            written.rules.append(message)
    return Written(found, written.rules, written.problems, models)


def _of_policy(found: Document, value: dict[str, Any]) -> Written:
    kind, name = value.get("kind"), _name(value)
    if kind not in KINDS or value.get("apiVersion") != API_VERSION:
        known = " or ".join(KINDS)
        reason = f"must be {known} of {API_VERSION}, or a file of rules (group, help, rules)"
        raise DocumentInvalid(found.problem(("kind",), reason))
    try:
        accepted = accept_policy(str(kind), value.get("spec"), Catalogue.load(), library())
    except NotAccepted as refused:
        raise DocumentInvalid(found.problem(("spec",), refused.message)) from None
    job, *_ = policy_messages(
        accepted,
        uid=name,
        kind=str(kind),
        namespace=NAMESPACE if kind == "SecurityPolicy" else "",
        name=name,
        generation=1,
        namespaces=None,
    )
    custom = {rule.name: number for number, rule in enumerate(accepted.spec.rules.custom)}
    problems: list[str] = []
    for each in accepted.problems:
        place: Place = ("spec", "rules")
        if each.rule in custom:
            place = (*place, "custom", custom[each.rule])
        problems.append(found.problem(place, f"{each.rule}: {each.message}"))
    return Written(found, list(job.rules), problems, {})


def _name(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _joined(error: DocumentInvalid) -> str:
    return "; ".join(str(error).splitlines())


def trackers_of(rules: Iterable[agent_pb2.Rule]) -> Iterator[str]:
    """Give the names of the trackers that rules read, each once."""
    yield from dict.fromkeys(name for rule in rules for name in rule.trackers)
