# SPDX-License-Identifier: Apache-2.0
"""How long and how often each thing is measured."""

from dataclasses import dataclass

FLAT_OUT = 0
"""A rate: as many operations as the generators can make."""


@dataclass(frozen=True, slots=True)
class Plan:
    """rounds: how often all collectors have their turn, by section.

    seconds: of load in one turn. rates: operations a second, by workload, and rounds of each.
    calls: system calls of a burst. starts: launches of each collector.
    """

    rounds: dict[str, int]
    seconds: float
    rates: dict[str, dict[int, int]]
    calls: int
    bursts: int
    requests_seconds: float
    containers: tuple[int, ...]
    starts: int
    rest_seconds: float


FULL = Plan(
    rounds={"requests": 3, "calls": 2, "density": 1},
    seconds=1.0,
    rates={
        "opens": {1_000: 1, 10_000: 1, 100_000: 2, 500_000: 2, FLAT_OUT: 3},
        "execs": {1_000: 1, FLAT_OUT: 3},
        "connects": {1_000: 1, 10_000: 1, FLAT_OUT: 3},
    },
    calls=20_000,
    bursts=5,
    requests_seconds=2.0,
    containers=(1, 5, 20, 50),
    starts=5,
    rest_seconds=5.0,
)
QUICK = Plan(
    rounds={"requests": 1, "calls": 1, "density": 1},
    seconds=0.2,
    rates={"opens": {FLAT_OUT: 1}, "execs": {FLAT_OUT: 1}, "connects": {FLAT_OUT: 1}},
    calls=2_000,
    bursts=1,
    requests_seconds=1.0,
    containers=(2,),
    starts=1,
    rest_seconds=0.3,
)
"""Shows that all of it works; its figures are worth nothing."""
