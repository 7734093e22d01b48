# SPDX-License-Identifier: Apache-2.0
"""The operator with thousands of simulated agents over TLS on loopback: operator_scale.py."""

import json
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.figure import Figure, Goal

PROGRAM = Path(__file__).with_name("operator_scale.py")
AGENTS = 5000
JOBS = 50


def measure() -> list[Figure]:
    """Run the program, and take its figures."""
    command = [sys.executable, str(PROGRAM), "--agents", str(AGENTS), "--jobs", str(JOBS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BenchError(f"{PROGRAM.name} failed: {reason}")
    told = json.loads(ended.stdout)
    name = f"operator, {told['agents']:,} agents and {told['jobs']} jobs"
    return [
        Figure(
            f"{name}: resident memory",
            "MiB",
            [told["memory_mib"]],
            Goal("<", 600),
            note=f"peak {told['memory_mib_peak']} MiB; TLS; the agents are processes apart",
        ),
        Figure(
            f"{name}: a change reaches all",
            "s",
            told["change_reaches_all_seconds"],
            Goal("<", 5),
        ),
        Figure(
            f"{name}: CPU, all reporting",
            "% of a core",
            [told["cpu_percent_of_a_core"]],
            note=f"{told['status_writes_a_second']} status writes a second",
        ),
    ]
