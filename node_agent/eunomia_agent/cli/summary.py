# SPDX-License-Identifier: Apache-2.0
"""The last line of a command: what came of all events."""

from collections.abc import Iterable

from eunomia_agent.trackers.accounting import Totals


def summary(parts: Iterable[Totals]) -> str:
    """Return totals as one line: `1,204 events, 0 lost, 0 limited: 100 % complete`.

    events: let through by the kernel's filter. The share that was delivered is rounded down. What
    was sampled out or could not be told apart is named where there is any.
    """
    total = sum(parts, Totals())
    counts = [
        f"{total.matched:,} event{'' if total.matched == 1 else 's'}",
        f"{total.lost_kernel + total.lost_agent:,} lost",
        f"{total.limited:,} limited",
    ]
    if total.sampled_out:
        counts.append(f"{total.sampled_out:,} sampled out")
    if total.unclassified:
        counts.append(f"{total.unclassified:,} unclassified")
    return f"{', '.join(counts)}: {_percent(total)} % complete"


def _percent(total: Totals) -> int:
    return total.delivered * 100 // total.matched if total.matched else 100
