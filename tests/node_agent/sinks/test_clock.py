# SPDX-License-Identifier: Apache-2.0
"""Dates of rows."""

import time

import numpy as np

from eunomia_agent.sinks.clock import boot_offset_ns, rfc3339

NOON = 1_738_324_800 * 10**9
"""2025-01-31T12:00:00Z"""


def test_dates_are_exact_to_the_nanosecond() -> None:
    boot = np.array([1, 999_999_999, 1_000_000_000, 43_200 * 10**9], dtype=np.uint64)
    assert rfc3339(boot, NOON) == [
        "2025-01-31T12:00:00.000000001Z",
        "2025-01-31T12:00:00.999999999Z",
        "2025-01-31T12:00:01.000000000Z",
        "2025-02-01T00:00:00.000000000Z",
    ]
    assert rfc3339(boot[:0], NOON) == []


def test_clock_that_is_set_moves_later_dates_only() -> None:
    boot = np.array([5 * 10**9], dtype=np.uint64)
    assert rfc3339(boot, NOON) == ["2025-01-31T12:00:05.000000000Z"]
    assert rfc3339(boot, NOON - 3600 * 10**9) == ["2025-01-31T11:00:05.000000000Z"]


def test_garbage_is_a_date_too() -> None:
    garbage = np.array([2**64 - 1, 2**63 - 1, 0], dtype=np.uint64)
    dates = rfc3339(garbage, NOON)
    assert len(dates) == 3
    assert all(date.endswith("Z") for date in dates)


def test_offset_leads_from_boot_time_to_now() -> None:
    boot = np.array([time.clock_gettime_ns(time.CLOCK_BOOTTIME)], dtype=np.uint64)
    told = rfc3339(boot, boot_offset_ns())[0]
    now = time.time()
    seconds = [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - ago)) for ago in (0, 1)]
    assert told[:19] in seconds
