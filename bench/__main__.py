# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [NAME …] [--json FILE]`: measure, and print one table.

Needs root. The local cluster is brought up where it is down, and left as it was found.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import apply, drain, rest, scale, start
from bench.cluster import Cluster, running
from bench.errors import BenchError
from bench.figure import Figure, table
from dev.errors import DevError
from eunomia_agent.errors import AgentError

ON_CLUSTER: Mapping[str, Callable[[Cluster], list[Figure]]] = {
    "apply": apply.measure,
    "rest": rest.measure,
}
ALONE: Mapping[str, Callable[[], list[Figure]]] = {
    "start": start.measure,
    "drain": drain.measure,
    "scale": scale.measure,
}


def main(words: list[str]) -> int:
    """Print the figures asked for; 1 when any could not be measured."""
    names = [*ON_CLUSTER, *ALONE]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement, too")
    parser.add_argument(
        "--as-installed", action="store_true", help="measure what is on the cluster already"
    )
    options = parser.parse_args(words)
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(names)}")
    if os.geteuid() != 0:
        parser.error("loading BPF programs needs root")
    figures = list(measure(options.names or names, as_installed=options.as_installed))
    print(table(figures), flush=True)
    if options.json:
        options.json.write_text(json.dumps([figure.plain() for figure in figures], indent=2))
    return 0 if all(figure.values for figure in figures) else 1


def measure(names: list[str], *, as_installed: bool) -> Iterator[Figure]:
    """Measure what is named, those on the cluster first."""
    on_cluster = [name for name in ON_CLUSTER if name in names]
    with ExitStack() as stack:
        try:
            lent = running(as_installed=as_installed)
            cluster = stack.enter_context(lent) if on_cluster else None
        except (BenchError, DevError) as error:
            yield from (_missing(name, error) for name in on_cluster)
            cluster = None
        if cluster is not None:
            for name in on_cluster:
                yield from _tried(name, partial(ON_CLUSTER[name], cluster))
    for name in (name for name in ALONE if name in names):
        yield from _tried(name, ALONE[name])


def _tried(name: str, trial: Callable[[], list[Figure]]) -> list[Figure]:
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    try:
        return trial()
    except (BenchError, DevError, AgentError, OSError) as error:
        return [_missing(name, error)]


def _missing(name: str, error: Exception) -> Figure:
    return Figure(name, "", [], note=str(error).partition("\n")[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
