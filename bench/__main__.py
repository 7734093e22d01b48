# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [NAME …]`: measure, print the figures, and write docs/benchmarks.md.

`rules` is measured where it is named, and has a page of its own, docs/benchmarks-security.md.

Needs root. Peers are put in place where they are missing, apart from this machine's own system.
The local cluster is brought up where it is down, and left as it was found.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench import (
    apply,
    calls,
    delivery,
    density,
    gadget,
    launch,
    nginx,
    peers,
    report,
    rest,
    rows,
    rules,
    scale,
    scrape,
    start,
)
from bench.bench import Bench, bench
from bench.cluster import Cluster, running
from bench.collector import Collector, collectors
from bench.errors import BenchError
from bench.figure import Figure, table
from bench.plan import FULL, QUICK, Plan
from bench.results import Results, machine
from dev.errors import DevError
from dev.folders import PROJECT
from dev.progress import say
from eunomia_agent.errors import AgentError

PAGE = PROJECT / "docs" / "benchmarks.md"
RULES_PAGE = PROJECT / "docs" / "benchmarks-security.md"
RULES = "rules"
"""The section that has a page of its own."""
KEPT = PROJECT / "build" / "bench.json"


class Told(Protocol):
    """What a section measured."""

    def plain(self) -> list[dict[str, Any]]:
        """Return it as rows."""
        ...


SIDE_BY_SIDE: Mapping[str, Callable[[Bench], Told]] = {
    "delivery": delivery.measure,
    "requests": nginx.measure,
    "calls": calls.measure,
    "density": density.measure,
    "launch": launch.measure,
}
ON_CLUSTER: Mapping[str, Callable[[Cluster], list[Figure]]] = {
    "apply": apply.measure,
    "rest": rest.measure,
}
ALONE: Mapping[str, Callable[[], list[Figure]]] = {
    "start": start.measure,
    "rows": rows.measure,
    "scrape": scrape.measure,
    "scale": scale.measure,
}
ERRORS = (BenchError, DevError, AgentError, OSError)


def main(words: list[str]) -> int:
    """Measure what is asked for; 1 when any of it could not be measured."""
    names = [*SIDE_BY_SIDE, *ON_CLUSTER, *ALONE, RULES]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--collectors", type=_words, default=[], metavar="NAME,…", help="measure these alone"
    )
    parser.add_argument("--no-cluster", action="store_true", help="leave out apply and rest")
    parser.add_argument("--no-install", action="store_true", help="measure the peers that are here")
    parser.add_argument("--quick", action="store_true", help="show that all of it works, briefly")
    parser.add_argument(
        "--as-installed", action="store_true", help="measure what is on the cluster"
    )
    parser.add_argument("--json", type=Path, default=KEPT, metavar="FILE", help="what was measured")
    parser.add_argument("--page", type=Path, metavar="FILE", help="what to write, with a chart")
    parser.add_argument("--again", action="store_true", help="write the page from FILE of --json")
    options = parser.parse_args(words)
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(names)}")
    if options.again:
        write(Results.read(options.json), options.names, options.page)
        return 0
    if os.geteuid() != 0:
        parser.error("loading BPF programs needs root")
    wanted = options.names or [
        name for name in names if name != RULES and not (options.no_cluster and name in ON_CLUSTER)
    ]
    if not options.no_install and any(name in SIDE_BY_SIDE for name in wanted):
        _install()
    results = measure(
        wanted,
        QUICK if options.quick else FULL,
        options.collectors,
        as_installed=options.as_installed,
    )
    results.write(options.json)
    if options.page or (options.names in ([], [RULES]) and not options.quick):
        write(results, options.names, options.page)
    for what, why in results.failures.items():
        say(f"not measured: {what}: {why}")
    return 1 if results.failures else 0


def write(results: Results, names: list[str], page: Path | None) -> None:
    """Write the page of the rules, where nothing else was named, or the other one."""
    if names == [RULES]:
        rules.write(results, page or RULES_PAGE)
    else:
        report.write(results, page or PAGE)


def _install() -> None:
    """Put the peers in place; what cannot be is a row that says why, later."""
    for step in (peers.install, gadget.install):
        try:
            step()
        except (BenchError, DevError) as error:
            say(f"  {error}")


def _words(text: str) -> list[str]:
    return text.split(",")


def measure(names: list[str], plan: Plan, wanted: list[str], *, as_installed: bool) -> Results:
    """Measure what is named: collectors side by side, on the cluster, the agent's own parts.

    wanted: names of collectors; none: all.
    """
    results = Results(machine=machine(quick=plan is QUICK))
    known = collectors()
    if unknown := set(wanted) - {each.name for each in known}:
        raise BenchError(
            f"there is no collector {min(unknown)}; there are "
            f"{', '.join(each.name for each in known)}"
        )
    compared = [each for each in known if each.name in wanted or not wanted]
    _side_by_side([name for name in SIDE_BY_SIDE if name in names], compared, plan, results)
    extent = rules.QUICK if plan is QUICK else rules.FULL
    alone: dict[str, Callable[[], list[Figure]]] = {
        **ALONE,
        RULES: partial(rules.measure, extent),
    }
    figures = [
        *_on_cluster([name for name in ON_CLUSTER if name in names], as_installed=as_installed),
        *(figure for name in alone if name in names for figure in _tried(name, alone[name])),
    ]
    results.figures = [json.loads(json.dumps(figure.plain())) for figure in figures]
    for figure in figures:
        if not figure.values:
            results.failures[figure.name] = figure.note
    if figures:
        print(table(figures), flush=True)
    return results


def _side_by_side(
    names: list[str], compared: list[Collector], plan: Plan, results: Results
) -> None:
    if not names:
        return
    with bench(plan, compared) as lent:
        results.versions = {each.name: each.told_version() for each in lent.collectors}
        for name in names:
            say(f"measuring {name} …")
            try:
                results.sections[name] = list(SIDE_BY_SIDE[name](lent).plain())
            except ERRORS as error:
                results.failures[name] = str(error).partition("\n")[0]
        results.failures.update(lent.failures)


def _on_cluster(names: list[str], *, as_installed: bool) -> Iterator[Figure]:
    with ExitStack() as stack:
        try:
            lent = running(as_installed=as_installed)
            cluster = stack.enter_context(lent) if names else None
        except (BenchError, DevError) as error:
            yield from (_missing(name, error) for name in names)
            return
        for name in names:
            assert cluster is not None
            yield from _tried(name, partial(ON_CLUSTER[name], cluster))


def _tried(name: str, trial: Callable[[], list[Figure]]) -> list[Figure]:
    say(f"measuring {name} …")
    try:
        return trial()
    except ERRORS as error:
        return [_missing(name, error)]


def _missing(name: str, error: Exception) -> Figure:
    return Figure(name, "", [], note=str(error).partition("\n")[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
