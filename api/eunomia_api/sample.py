# SPDX-License-Identifier: Apache-2.0
"""Whether a tracker can leave events out: judged by the operator, and by each agent again."""

from collections.abc import Collection


def check(tracker: str, sources: Collection[str], sample: int) -> None:
    """Raise ValueError if there are no events to keep one in so many of.

    sources: the tracker's results.
    """
    if sample > 1 and "events" not in sources:
        raise ValueError(
            f'must be 1 or absent, not {sample}: tracker "{tracker}" gives no events one by one, '
            "and what it adds up in the kernel is counted in full"
        )
