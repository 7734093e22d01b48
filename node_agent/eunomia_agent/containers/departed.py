# SPDX-License-Identifier: Apache-2.0
"""Cgroups that are gone, and may still be heard of."""

KEPT = 16_384
"""How many ids are remembered: some minutes' worth, on a node that makes a hundred a second."""


class Departed:
    """The ids of the cgroups that went last.

    What a process leaves behind, such as a connection that is yet to be closed, speaks in the name
    of a cgroup that is gone. The kernel gives no id twice (__kernfs_new_node() of fs/kernfs/dir.c).
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._ids = dict[int, None]()

    def __contains__(self, cgroup_id: int) -> bool:
        return cgroup_id in self._ids

    def add(self, cgroup_id: int) -> None:
        """Take note of a cgroup that is gone, and forget the one that is for the longest time."""
        self._ids.pop(cgroup_id, None)
        self._ids[cgroup_id] = None
        if len(self._ids) > self._kept:
            del self._ids[next(iter(self._ids))]
