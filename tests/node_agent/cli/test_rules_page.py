# SPDX-License-Identifier: Apache-2.0
"""The page that lists the built-in rules, and how the kernel can enforce each."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from eunomia_agent.cli.rulebook import why_not_enforced
from eunomia_agent.jobs.enforceable import told
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_api.library import built_in
from eunomia_api.rule import LibraryRule

if not (OBJECTS / "access.bpf.o").exists():
    pytest.skip("needs the objects that the build compiles", allow_module_level=True)

PAGE = Path(__file__).parents[3] / "docs/rules-library.md"
HEAD = """\
# The rules that come with Eunomia

A policy's `rules.builtIn` names a group, or `group/rule`. `eunomia rules show group/rule` shows the
condition of a rule, its exceptions, what to do when it is broken, and the examples that it is
tested with; [rules.md](rules.md) tells how rules are read.

An `event` is worth knowing, and happens in some healthy workloads; a `warning` should be looked at;
an `alert` is no workload's business. Paths are those of the files that were really opened, and
programs are told by the file that runs: symbolic links, relative paths and new names of programs
make no difference. Nor does it where a folder or a single file of the node's or of a container's
root is mounted, and an exception for a program holds for the image's own file alone.
[rules.md](rules.md#what-misleads-rules) tells what does make a difference.

**enforced by** tells which [responses of the kernel](policies.md#kill-and-deny) a rule can have,
and in few words why not the others. A rule that cannot have the one that is asked for is reported.
"""


def page() -> str:
    """The page as it should be."""
    parts, enforced = [HEAD], why_not_enforced(built_in().rules)
    for group in built_in().groups.values():
        parts.append(f"\n## {group.group}\n\n{group.help}\n\n")
        parts.append(
            "| rule | severity | ATT&CK | reads | enforced by | what it means |\n"
            "|---|---|---|---|---|---|\n"
        )
        parts += [row(rule, enforced[f"{group.group}/{rule.name}"]) for rule in group.rules]
    return "".join(parts)


def row(rule: LibraryRule, why_not: Mapping[str, str]) -> str:
    links = ", ".join(
        f"[{tag}](https://attack.mitre.org/techniques/{tag.replace('.', '/')}/)"
        for tag in rule.tags
    )
    meaning = rule.description.replace("|", "\\|")
    cells = [f"`{rule.name}`", rule.severity, links, ", ".join(rule.events), told(why_not), meaning]
    return f"| {' | '.join(cells)} |\n"


def test_the_page_lists_all_rules_as_they_are() -> None:
    assert PAGE.read_text() == page()
