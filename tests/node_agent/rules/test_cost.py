# SPDX-License-Identifier: Apache-2.0
"""What it takes to judge by forty rules. The bounds are three times what an idle machine needs."""

import time
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
CONDITIONS = (
    'writing && (path.endsWith("/release_agent") || path.endsWith("/notify_on_release"))',
    'kind == "open" && path.startsWith("/proc/") && path.endsWith("/mem")',
    'comm in ["sh", "bash", "dash", "zsh", "ksh", "ash"] && writing && size > 100',
    'path == "/etc/shadow" || path == "/etc/gshadow" || path.startsWith("/root/.ssh/")',
    'args.exists(a, a == "-x") && comm == "nc"',
    'writing && path.matches("^/dev/(shm|mqueue)/")',
    'path.endsWith("/docker.sock") || path.endsWith("/containerd.sock") || 7 in ancestor_pids',
    'namespace == "shop" && !(comm in ["nginx", "cat"]) && path.contains("/secrets/")',
)


@pytest.mark.parametrize(("count", "milliseconds"), [(10, 9), (2000, 30)])
def test_forty_rules(
    watch: Make, rule: Make, rows_of: Make, count: int, milliseconds: float
) -> None:
    runc = {"name": "runc", "when": 'comm == "runc"'}
    seen = watch(
        *(
            rule(
                name=f"rule-{number}",
                when=CONDITIONS[number % len(CONDITIONS)],
                exceptions=[runc],
                deduplicate_ms=60_000,
            )
            for number in range(40)
        )
    )
    rows = rows_of(
        [
            {
                "at": 1 + number / 1e5,
                "pid": number % 20,
                "comm": (b"nginx", b"cat", b"python3", b"sh")[number % 4],
                "path": b"/usr/lib/x86_64-linux-gnu/lib%d.so" % (number % 500),
                "args": b"cmd\0-a\0%d\0" % (number % 50),
                "writing": number % 10 == 0,
                "kind": number % 2,
            }
            for number in range(count)
        ]
    )
    assert fastest(lambda: seen.guard.write(rows)) < milliseconds
    assert seen.guard.report().ByteSize() == 0


def test_a_flood_that_breaks_a_rule_costs_little_more(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    seen = watch(rule(deduplicate_ms=60_000), rule(name="all", message="{path}"))
    rows = rows_of([{"at": 1 + n / 1e5, "path": b"/x%d" % n, "writing": 1} for n in range(2000)])
    # a hundred thousand a second, none of which is rendered above the rate
    assert fastest(lambda: seen.guard.write(rows)) < 60
    report = seen.guard.report()
    assert report.warnings == len(seen.alerts) + report.dropped


def fastest(action: Callable[[], object]) -> float:
    """Return the milliseconds of CPU time of the fastest of some runs."""
    taken: list[float] = []
    for _ in range(10):
        begin = time.thread_time()
        action()
        taken.append((time.thread_time() - begin) * 1000)
    return min(taken)
