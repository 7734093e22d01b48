# SPDX-License-Identifier: Apache-2.0
"""The file of `--config`: defaults for options, and what the daemon runs.

    [run]
    fmt = "json"
    [run.opensnoop]
    failedOnly = true
    [daemon]
    output = "/var/log/eunomia"
    [daemon.trackers.process]
    where = "uid == 0"
    [rules]
    builtin = ["container-escape", "shells/reverse-shell"]
    files = ["mine.yaml"]

Options are called as on the command line, without dashes in front; a tracker's also as in a
TraceJob. Files of rules are looked for beside this one.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from eunomia_agent.cli.catalogue import catalogue, tracker
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.job import Use
from eunomia_agent.cli.options import python_name
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_api import sample

MAX_BYTES = 1 << 20
USE = frozenset({"where", "sample"})
"""What a tracker of the daemon takes beside its params."""
RULES = ("container-escape",)
"""Groups of rules that the daemon judges by where nothing is said."""


@dataclass(frozen=True, slots=True)
class RulesWanted:
    """Rules of the daemon. builtin: GROUP or GROUP/NAME; files: rules of the user's own."""

    builtin: Sequence[str] = RULES
    files: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """defaults: by command, then by the option's name in Python. daemon: what it runs."""

    defaults: Mapping[str, Mapping[str, Any]]
    daemon: list[Use]
    rules: RulesWanted = RulesWanted()


def load(path: Path, commands: Mapping[str, Mapping[str, str]]) -> Config:
    """Read a file. Raises CommandError that names the key.

    commands: what each takes: an option as on the command line → its name in Python.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise CommandError(f"{path}: is larger than {MAX_BYTES} bytes")
        written = tomllib.loads(text.decode())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CommandError(f"{path}: {error}") from None
    return _Reader(path, commands).config(written)


class _Reader:
    def __init__(self, path: Path, commands: Mapping[str, Mapping[str, str]]) -> None:
        self._path = path
        self._commands = commands

    def config(self, written: dict[str, Any]) -> Config:
        defaults: dict[str, dict[str, Any]] = {}
        daemon: list[Use] = []
        rules = self._rules(self._table("rules", written.pop("rules", {})))
        for command, values in written.items():
            known = self._commands.get(command)
            if known is None:
                raise self._unknown(command, command, [*self._commands, "rules"])
            table = self._table(command, values)
            if command == "daemon":
                daemon = self._uses(self._table("daemon.trackers", table.pop("trackers", {})))
            defaults[command] = self._options(command, table, known)
        return Config(defaults, daemon, rules)

    def _rules(self, values: Mapping[str, Any]) -> RulesWanted:
        for key, value in values.items():
            if key not in ("builtin", "files"):
                raise self._unknown(f"rules.{key}", key, ("builtin", "files"))
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise CommandError(f"{self._path}: rules.{key}: must be a list of texts")
        files = [self._path.parent / each for each in values.get("files", ())]
        return RulesWanted(values.get("builtin", RULES), files)

    def _options(
        self, command: str, values: Mapping[str, Any], known: Mapping[str, str]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            if command == "run" and isinstance(value, dict):
                name = self._tracker(f"run.{key}", key).name
                own = {**known, **_params(self._tracker(f"run.{key}", key))}
                found[name] = self._options(f"run.{key}", value, own)
            elif key in known:
                found[known[key]] = value
            else:
                raise self._unknown(f"{command}.{key}", key, known)
        return found

    def _uses(self, trackers: Mapping[str, Any]) -> list[Use]:
        uses: list[Use] = []
        for name, values in trackers.items():
            place = f"daemon.trackers.{name}"
            found = self._tracker(place, name)
            table = self._table(place, values)
            params = {key: value for key, value in table.items() if key not in USE}
            try:
                found.check_params(params)
            except ValueError as error:
                raise CommandError(f"{self._path}: {place}: {error}") from None
            where, number = table.get("where", ""), table.get("sample", 1)
            if not isinstance(where, str) or type(number) is not int or number < 1:
                wrong = "where is text, and sample a whole number from 1"
                raise CommandError(f"{self._path}: {place}: {wrong}")
            try:
                sample.check(name, found.sources, number)
            except ValueError as error:
                raise CommandError(f"{self._path}: {place}.sample {error}") from None
            uses.append(Use(name, params, where, number))
        return uses

    def _tracker(self, place: str, name: str) -> Tracker:
        try:
            return tracker(name)
        except CommandError as error:
            raise CommandError(f"{self._path}: {place}: {error}") from None

    def _table(self, place: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise CommandError(f"{self._path}: {place}: must be a table")
        return dict(value)

    def _unknown(self, place: str, key: str, known: Collection[str]) -> CommandError:
        near = get_close_matches(key, known, n=1)
        rest = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        return CommandError(f"{self._path}: {place}: there is no such key; {rest}")


def _params(found: Tracker) -> dict[str, str]:
    """Return a tracker's params, spelled as in a TraceJob and as an option → name in Python."""
    names = {name: python_name(name) for name in found.params}
    return names | {flag.replace("_", "-"): flag for flag in names.values()}


def core_trackers(core: Collection[str]) -> list[Use]:
    """Return what runs where nothing is said: the core trackers that this release has."""
    return [Use(name, {}) for name in core if name in catalogue().trackers]
