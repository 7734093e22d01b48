# SPDX-License-Identifier: Apache-2.0
"""Go's durations, the form in which Kubernetes writes spans of time ("90s", "1h30m")."""

import durationpy

LONGEST_SECONDS = 7 * 24 * 3600
PATTERN = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"


def seconds(text: str) -> float:
    """Return the seconds of a Go duration.

    Raises ValueError when the text is not one (https://pkg.go.dev/time#ParseDuration).
    """
    try:
        return float(durationpy.from_str(text).total_seconds())
    except durationpy.DurationError as error:
        raise ValueError(f'"{text}" is not a duration; write it like 90s, 15m or 1h30m') from error
