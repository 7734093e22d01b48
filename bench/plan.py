# SPDX-License-Identifier: Apache-2.0
"""How long and how often each thing is measured."""

from dataclasses import dataclass

FLAT_OUT = 0
"""A rate: as many operations as the generators can make."""


@dataclass(frozen=True, slots=True)
class Plan:
    """rounds: how often all collectors have their turn; seconds: of load in one turn.

    rates: operations a second, by workload.
    """

    rounds: int
    seconds: float
    rates: dict[str, tuple[int, ...]]
    calls: int
    bursts: int
    requests_seconds: float
    containers: tuple[int, ...]
    starts: int
    rest_seconds: float


FULL = Plan(
    rounds=3,
    seconds=1.0,
    rates={
        "opens": (1_000, 10_000, 100_000, 500_000, FLAT_OUT),
        "execs": (1_000, FLAT_OUT),
        "connects": (1_000, 10_000, FLAT_OUT),
    },
    calls=20_000,
    bursts=5,
    requests_seconds=2.0,
    containers=(1, 5, 20, 50),
    starts=5,
    rest_seconds=5.0,
)
QUICK = Plan(
    rounds=1,
    seconds=0.2,
    rates={"opens": (FLAT_OUT,), "execs": (FLAT_OUT,), "connects": (FLAT_OUT,)},
    calls=2_000,
    bursts=1,
    requests_seconds=0.3,
    containers=(2,),
    starts=1,
    rest_seconds=0.3,
)
"""Shows that all of it works; its figures are worth nothing."""
