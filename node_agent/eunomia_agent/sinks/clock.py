# SPDX-License-Identifier: Apache-2.0
"""Dates of the kernel's boot-time nanoseconds."""

import time

import numpy as np
from numpy.typing import NDArray

SECOND = 1_000_000_000


def boot_offset_ns() -> int:
    """Return CLOCK_REALTIME - CLOCK_BOOTTIME in nanoseconds, as of now; see clock_gettime(2).

    It changes when the clock is set: take it again for each batch.
    """
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def rfc3339(boot_ns: NDArray[np.uint64], offset_ns: int) -> list[str]:
    """Return UTC dates with nanoseconds, such as 2025-01-31T12:00:00.000000001Z.

    boot_ns: nanoseconds of CLOCK_BOOTTIME, shape (n,). offset_ns: see boot_offset_ns.
    """
    seconds, rest = np.divmod(boot_ns.astype(np.int64) + offset_ns, SECOND)
    text = {second: _date(second) for second in np.unique(seconds).tolist()}
    return [
        f"{text[second]}{nanosecond:09d}Z"
        for second, nanosecond in zip(seconds.tolist(), rest.tolist(), strict=True)
    ]


def _date(second: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
    except (OverflowError, ValueError, OSError):  # a record full of ones: no such year
        return "9999-12-31T23:59:59."
