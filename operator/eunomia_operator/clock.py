# SPDX-License-Identifier: Apache-2.0
"""Times as the Kubernetes API writes them (`metav1.Time`: RFC 3339, whole seconds, UTC). Pure."""

from datetime import UTC, datetime


def written(seconds: float) -> str:
    """Return Unix time as text; fractions of a second are cut off."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> float:
    """Return the Unix time of a text.

    Raises ValueError when the text is no time with an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return moment.timestamp()
