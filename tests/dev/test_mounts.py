# SPDX-License-Identifier: Apache-2.0
"""Which mounts are ours to unmount."""

from __future__ import annotations

from pathlib import Path

from dev.cluster.mounts import Mount, below, parse

MOUNTINFO = r"""21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:25 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
40 21 0:50 / /var/lib/ours/kubelet/pods/a\040b/volume rw master:2 propagate_from:1 - tmpfs tmpfs rw
41 40 0:51 / /var/lib/ours/kubelet/pods/a\040b/volume/inner rw - tmpfs tmpfs rw
42 21 0:52 / /var/lib/ours-not rw - tmpfs tmpfs rw
"""


def test_only_what_lies_inside_the_folder_and_the_innermost_first() -> None:
    assert below(parse(MOUNTINFO), Path("/var/lib/ours")) == [
        "/var/lib/ours/kubelet/pods/a b/volume/inner",
        "/var/lib/ours/kubelet/pods/a b/volume",
    ]


def test_the_kind_stands_behind_any_number_of_optional_fields() -> None:
    assert [mount.kind for mount in parse(MOUNTINFO)] == [
        "ext4",
        "cgroup2",
        "tmpfs",
        "tmpfs",
        "tmpfs",
    ]
    assert parse(MOUNTINFO)[1] == Mount("/sys/fs/cgroup/unified", "cgroup2")
