# SPDX-License-Identifier: Apache-2.0
"""The rules of a daemon: one guard, and a job for each tracker that its rules read.

A tracker that cannot run here takes no rule with it but those that read nothing else.
"""

import sys
from collections.abc import Sequence
from functools import partial

from eunomia_agent.cli import rulebook
from eunomia_agent.cli.alerts import counts
from eunomia_agent.cli.catalogue import catalogue
from eunomia_agent.cli.config import RulesWanted
from eunomia_agent.cli.errors import one_line
from eunomia_agent.cli.job import Use, job
from eunomia_agent.metrics.security import Security
from eunomia_agent.rules.guard import Guard, Outlet
from eunomia_api import agent_pb2

NAME = "daemon-rules"
POLICY = "daemon"


class Judging:
    """Rules that are judged, and what came of it."""

    def __init__(self, wanted: RulesWanted, outlet: Outlet, node: str) -> None:
        """Read the rules. Raises CommandError; of single rules, tells what is wrong."""
        rules = rulebook.chosen(wanted.builtin)
        problems: list[str] = []
        for path in wanted.files:
            written = rulebook.load(path)
            rules += written.rules
            problems += written.problems
        self.security = Security(node)
        self.guard = Guard(
            agent_pb2.Job(uid=POLICY, rules=rules),
            catalogue().trackers,
            outlet,
            partial(self.security.count, POLICY),
        )
        wrong = {each.rule: each.message for each in self.guard.report().problems}
        problems += [f"{rule}: {message}" for rule, message in wrong.items()]
        for problem in problems:
            sys.stderr.write(f"eunomia: {one_line(problem)}\n")
        self.rules = [rule for rule in rules if rule.name not in wrong]

    @property
    def trackers(self) -> Sequence[str]:
        """The trackers that the rules read."""
        return list(rulebook.trackers_of(self.rules))

    def jobs(
        self, target: agent_pb2.Target, *, buffer: int, interval: float
    ) -> list[agent_pb2.Job]:
        """Return a job for each tracker, with the rules that read it."""
        found: list[agent_pb2.Job] = []
        for tracker in self.trackers:
            wanted = job([Use(tracker, {})], target, buffer=buffer, interval=interval, name=NAME)
            wanted.rules.extend(rule for rule in self.rules if tracker in rule.trackers)
            found.append(wanted)
        return found

    def summary(self) -> str:
        """Return what was told, as one line."""
        return f"rules: {counts(self.guard.report())}"
