# SPDX-License-Identifier: Apache-2.0
"""Where the cgroup v2 tree is mounted."""

import re
from pathlib import Path, PurePosixPath

_ESCAPED = re.compile(r"\\([0-7]{3})")


def find_root(mountinfo: str) -> Path | None:
    """Return the cgroup2 mount that shows most of the tree, or None where there is none.

    mountinfo: the text of /proc/self/mountinfo, see proc_pid_mountinfo(5). On a hybrid host the
    mount is /sys/fs/cgroup/unified. In a container there can be two, its own and one of the
    host's: seen from a cgroup namespace, the root of the host's begins with "/..".
    """
    mounts: list[tuple[tuple[int, int], Path]] = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split(" ")
        if rest.split(" ", 1)[0] == "cgroup2" and len(parts) >= 5:
            mounts.append((_depth(_unescaped(parts[3])), Path(_unescaped(parts[4]))))
    return min(mounts, key=lambda mount: mount[0])[1] if mounts else None


def _depth(root: str) -> tuple[int, int]:
    parts = PurePosixPath(root).parts[1:]
    above = parts.count("..")
    return len(parts) - above, -above


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 8)), text)
