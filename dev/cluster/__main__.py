# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m dev.cluster COMMAND`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dev.cluster import cluster, layout
from dev.cluster.components import ORDER, health
from dev.errors import DevError
from dev.progress import say


def main(arguments: Sequence[str]) -> int:
    """Run one command; 1 and one message on stderr when it fails."""
    words = _parser().parse_args(arguments)
    try:
        return _run(words)
    except DevError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; `python -m dev.cluster down` clears what is there")
        return 130


def _run(words: argparse.Namespace) -> int:
    match words.command:
        case "up":
            cluster.up()
        case "down":
            cluster.down()
        case "status":
            return _status(words.format)
        case "build":
            cluster.build()
        case "load":
            for archive in words.archives:
                cluster.load(archive)
        case "env":
            _print_environment()
        case "kubectl":
            _kubectl(words.words)
        case change:
            _change(change, words.component)
    return 0


def _change(change: str, component: str) -> None:
    """Stop, start or restart one component."""
    if change in ("stop", "restart"):
        cluster.stop(component)
    if change in ("start", "restart"):
        cluster.start(component)


def _status(form: str) -> int:
    lines = health()
    if form == "json":
        print(
            json.dumps({"up": cluster.complete(), "components": [asdict(line) for line in lines]})
        )
    else:
        print(f"{'COMPONENT':<26}{'PID':<10}READY")
        for line in lines:
            print(f"{line.name:<26}{line.pid or '-':<10}{'yes' if line.ready else 'no'}")
    return 0 if cluster.complete() and all(line.ready for line in lines) else 3


def _print_environment() -> None:
    """Lines for `eval`: kubectl, ctr and everything else then speak to this cluster."""
    print(f"export KUBECONFIG={shlex.quote(str(layout.KUBECONFIG))}")
    print(f'export PATH={shlex.quote(str(layout.BIN))}:"$PATH"')
    print(f"export CONTAINERD_ADDRESS={shlex.quote(str(layout.CONTAINERD_SOCKET))}")
    print("export CONTAINERD_NAMESPACE=k8s.io")


def _kubectl(words: list[str]) -> None:
    program = cluster.kubectl()
    own = words[1:] if words[:1] == ["--"] else words
    os.execve(program, ["kubectl", *own], {**os.environ, "KUBECONFIG": str(layout.KUBECONFIG)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring a one-node Kubernetes up, building it when needed")
    commands.add_parser("down", help="take down everything that up made")
    status = commands.add_parser("status", help="the components; exits with 3 when not all is up")
    status.add_argument("--format", choices=("table", "json"), default="table")
    commands.add_parser("build", help="only build what up needs")
    load = commands.add_parser("load", help="import images into the node")
    load.add_argument("archives", nargs="+", type=Path, metavar="FILE.tar")
    for name in ("start", "stop", "restart"):
        one = commands.add_parser(name, help=f"{name} one component of a cluster that is up")
        one.add_argument("component", choices=ORDER)
    commands.add_parser("env", help="print the shell's environment for this cluster")
    kubectl = commands.add_parser("kubectl", help="run kubectl against this cluster")
    kubectl.add_argument("words", nargs=argparse.REMAINDER, metavar="-- …")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
