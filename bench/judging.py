# SPDX-License-Identifier: Apache-2.0
"""What a daemon costs that judges by the library while others open files.

Its own CPU time, and what its programs add to each operation of others.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.cgroup import Cgroup
from bench.daemon import Rule, daemon
from bench.figure import Figure, Goal
from bench.generator import Form, Generator, Work, finished
from dev.progress import say
from eunomia_api.library import built_in

SETTLE_SECONDS = 1.0
NEVER = 'path.contains("no-such-name")'
"""What the kernel cannot decide."""
FORTY = ("container-escape", "sensitive-files")
"""Groups that have about forty rules between them, most of what is done to files."""
FILES = (*FORTY, "persistence", "tampering")
"""All groups whose rules read that, nearly all."""
GOAL = Goal("<", 10)
STARTS = 1000
"""Programs a second."""


@dataclass(frozen=True, slots=True)
class Case:
    """A load, and the rules that it is made under.

    groups: of the library. rate: operations a second on a path that no rule asks for; passing: on
    one that the kernel lets pass.
    """

    name: str
    form: Form
    groups: tuple[str, ...]
    rate: int
    passing: int = 0
    rules: tuple[Rule, ...] = ()
    goal: Goal | None = None

    @property
    def total(self) -> int:
        """Operations a second."""
        return self.rate + self.passing


def cases(folder: Path, opens: int) -> list[Case]:
    """Return what is measured. folder: beginning of the paths that a rule asks for."""
    asked = Rule("asked", "access", f'kind == "open" && path.startsWith("{folder}/") && {NEVER}')
    all_opens = Rule("all-opens", "access", NEVER)
    all_starts = Rule("all-starts", "execution", NEVER)
    library = tuple(sorted(built_in().groups))
    most, few = opens - opens // 20, opens // 20
    return [
        Case("opens, all dropped in the kernel", "opens", FORTY, opens, goal=GOAL),
        Case("opens, 95 % dropped in the kernel", "opens", FORTY, most, few, (asked,), GOAL),
        Case("opens, 95 % dropped in the kernel", "opens", FILES, most, few, (asked,)),
        Case("opens, 95 % dropped in the kernel", "opens", library, most, few, (asked,)),
        Case("opens, none dropped", "opens", FORTY, opens, rules=(all_opens,)),
        Case("starts of programs, none dropped", "execs", library, STARTS, rules=(all_starts,)),
    ]


@dataclass(frozen=True, slots=True)
class Round:
    """One turn.

    agent, rest: shares of a core under load, and before and after it. added_ns: to an operation.
    rate: operations a second that were made. rows, lost, rules: of the daemon's whole run.
    """

    agent: float
    rest: float
    added_ns: float
    rate: float
    rows: int
    lost: int
    rules: int

    @property
    def per_cent(self) -> float:
        """All that the load cost more, in per cent of a core."""
        return (self.agent - self.rest + self.rate * self.added_ns / 1e9) * 100


@dataclass(slots=True)
class Judging:
    """Rounds by case."""

    rounds: dict[Case, list[Round]] = field(default_factory=lambda: defaultdict(list))

    def figures(self) -> list[Figure]:
        """Return what came of it."""
        return [figure for case, rounds in self.rounds.items() for figure in _figures(case, rounds)]


def _figures(case: Case, rounds: Sequence[Round]) -> list[Figure]:
    unit = "% of a core"
    rules = rounds[0].rules
    name = f"{rules} rules, {case.total:,} {case.name}"
    rate, rows, lost = (median(getattr(each, key) for each in rounds) for key in _COUNTS)
    note = f"{rate:,.0f} a second were made; {rows:,.0f} rows read, {lost:,.0f} told as lost"
    return [
        Figure(name, unit, [each.per_cent for each in rounds], case.goal, note=note),
        Figure("  of which the daemon", unit, [(each.agent - each.rest) * 100 for each in rounds]),
        Figure("  the daemon without that load", unit, [each.rest * 100 for each in rounds]),
        Figure("  added to an operation", "ns", [each.added_ns for each in rounds]),
    ]


_COUNTS = ("rate", "rows", "lost")


def measure(
    load: Generator,
    loaded: Cgroup,
    judging: Cgroup,
    *,
    opens: int,
    rounds: int,
    seconds: float,
) -> list[Figure]:
    """Make the same load without a daemon, with one, and without; for each case, round by round."""
    told = Judging()
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as name:
        folder = Path(name)
        passed, other = folder / "passed", folder / "other"
        passed.mkdir()
        other.touch()
        (passed / "file").touch()
        for number in range(rounds):
            say(f"  judging, round {number + 1}")
            for case in cases(passed, opens):
                trial = _Trial(load, loaded, case, other, passed / "file", seconds)
                told.rounds[case].append(_round(trial, judging, folder))
    return told.figures()


@dataclass(frozen=True, slots=True)
class _Trial:
    """A case's load, ready to be made. other, passed: files that are opened."""

    load: Generator
    loaded: Cgroup
    case: Case
    other: Path
    passed: Path
    seconds: float

    def run(self) -> Work:
        """Make the load, by one process for each kind of path."""
        parts = ((self.other, self.case.rate), (self.passed, self.case.passing))
        running = [
            self.load.start(self.loaded, self.case.form, str(path), seconds=self.seconds, rate=rate)
            for path, rate in parts
            if rate
        ]
        first, *more = [finished(each) for each in running]
        for each in more:
            first = first.plus(each)
        return first


def _round(trial: _Trial, judging: Cgroup, folder: Path) -> Round:
    before = trial.run()
    with daemon(judging, folder, trial.case.groups, trial.case.rules) as running:
        time.sleep(SETTLE_SECONDS)
        rest = _share(judging, lambda: time.sleep(trial.seconds))
        work: list[Work] = []
        agent = _share(judging, lambda: work.append(trial.run()))
        rest_again = _share(judging, lambda: time.sleep(trial.seconds))
        end = running.end()
    after = trial.run()
    (loaded,) = work
    return Round(
        agent=agent,
        rest=(rest + rest_again) / 2,
        added_ns=loaded.ns_each - (before.ns_each + after.ns_each) / 2,
        rate=loaded.done / loaded.seconds,
        rows=end.rows,
        lost=end.lost,
        rules=end.rules,
    )


def _share(cgroup: Cgroup, action: Callable[[], object]) -> float:
    """Return the share of a core that a cgroup takes during an action."""
    used, began = cgroup.cpu_seconds(), time.monotonic()
    action()
    return (cgroup.cpu_seconds() - used) / (time.monotonic() - began)
