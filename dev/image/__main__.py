# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m dev.image build` and `python -m dev.image load`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dev import packages
from dev.cluster import cluster
from dev.errors import DevError
from dev.image import project, static
from dev.progress import say


def main(arguments: Sequence[str]) -> int:
    """Run one command; 1 and one message on stderr when it fails."""
    parser = argparse.ArgumentParser(prog="python -m dev.image", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the operator's, agent's and workload's images")
    commands.add_parser("load", help="build, and import into the cluster what it does not have")
    words = parser.parse_args(arguments)
    try:
        for archive in _build():
            if words.command == "load":
                cluster.load_once(archive)
            print(archive)
    except DevError as error:
        say(f"error: {error}")
        return 1
    return 0


def _build() -> list[Path]:
    packages.require()
    return [*project.build(), static.workload(), static.nginx()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
