# SPDX-License-Identifier: Apache-2.0
"""Rules in files: the library that comes with the package (`rules/GROUP.yaml`), and users' own."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path

from eunomia_api import document
from eunomia_api.document import DocumentInvalid
from eunomia_api.param import shown
from eunomia_api.rule import LibraryRule, RuleGroup


class NoSuchRule(KeyError):
    """There is no rule or group of that name; the message tells of near ones."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Library:
    """Groups of rules. A rule's name in it is GROUP/NAME."""

    groups: Mapping[str, RuleGroup]

    @property
    def rules(self) -> Mapping[str, LibraryRule]:
        """All rules by GROUP/NAME, in the order of the files."""
        return {
            f"{group.group}/{rule.name}": rule
            for group in self.groups.values()
            for rule in group.rules
        }

    def names(self, chosen: str) -> list[str]:
        """Return GROUP/NAME of all rules of a group, or of one rule. Raises NoSuchRule."""
        known = self.rules
        if chosen in known:
            return [chosen]
        if chosen in self.groups:
            return [f"{chosen}/{rule.name}" for rule in self.groups[chosen].rules]
        near = get_close_matches(chosen[:128], [*self.groups, *known], n=3, cutoff=0.8)
        hint = f"did you mean {' or '.join(near)}?" if near else f"groups: {', '.join(self.groups)}"
        raise NoSuchRule(f"there is no rule or group {shown(chosen)}; {hint}")

    def select(
        self, chosen: Iterable[str], excluded: Collection[str] = ()
    ) -> dict[str, LibraryRule]:
        """Return the rules that some names (GROUP or GROUP/NAME) stand for, by GROUP/NAME.

        Raises NoSuchRule, for what is excluded as well.
        """
        out = {name for each in excluded for name in self.names(each)}
        known = self.rules
        return {
            name: known[name] for each in chosen for name in self.names(each) if name not in out
        }


@cache
def built_in() -> Library:
    """Return the library that comes with the package. Raises DocumentInvalid with FILE:LINE."""
    files = resources.files("eunomia_api").joinpath("rules").iterdir()
    found: dict[str, RuleGroup] = {}
    for file in sorted(files, key=lambda each: each.name):
        if not file.name.endswith(".yaml"):
            continue
        group = parse(file.name, file.read_bytes())
        if f"{group.group}.yaml" != file.name:
            raise DocumentInvalid(f"{file.name}:1: its group is {group.group}: name it like that")
        found[group.group] = group
    return Library(found)


def read(path: Path) -> RuleGroup:
    """Return the rules of a file. Raises DocumentInvalid with FILE:LINE, OSError."""
    return parse(path.name, path.read_bytes())


def parse(name: str, data: bytes) -> RuleGroup:
    """Return the rules of a file's content. Raises DocumentInvalid with NAME:LINE."""
    return document.read(name, data).validated(RuleGroup)
