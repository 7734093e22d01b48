# SPDX-License-Identifier: Apache-2.0
"""How many different pods there were, however often each was seen."""

from collections.abc import Mapping
from typing import Any

MAX_KNOWN = 512
"""A node has at most some hundred pods at once: who was forgotten does not come back."""


class Pods:
    """A count of pods, by their uids, of which the newest are known."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[str, None] = {}

    def add(self, uid: str) -> None:
        """Count a pod, if it is none of those that are known. An empty uid is not one."""
        if not uid:
            return
        self.count += uid not in self._known
        self._known.pop(uid, None)
        self._known[uid] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def saved(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"count": self.count, "known": list(self._known)}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Pods":
        """Return what was saved. Raises KeyError, TypeError, ValueError."""
        found = cls()
        found.count = int(saved["count"])
        found._known = {str(uid): None for uid in saved["known"]}
        return found
