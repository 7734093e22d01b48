# SPDX-License-Identifier: Apache-2.0
"""The mount that shows most of the cgroup v2 tree, on machines as they are."""

from pathlib import Path

import pytest

from eunomia_agent.containers.hierarchy import find_root

HYBRID = """\
25 22 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
26 25 0:22 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 25 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
POD_OF_HOST_NAMESPACE = """\
701 690 0:26 /kubepods/podA/C /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
702 690 0:26 / /host/sys/fs/cgroup ro,nosuid master:9 - cgroup2 cgroup2 rw
"""
POD_OF_OWN_NAMESPACE = """\
701 690 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
702 690 0:26 /../../../.. /host/sys/fs/cgroup ro,nosuid master:9 - cgroup2 cgroup2 rw
"""
NODE_OF_KIND = """\
501 490 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw
"""
SPACES = """\
30 23 0:26 / /srv/my\\040tree rw - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("mountinfo", "root"),
    [
        (HYBRID, "/sys/fs/cgroup/unified"),
        (UNIFIED, "/sys/fs/cgroup"),
        (POD_OF_HOST_NAMESPACE, "/host/sys/fs/cgroup"),
        (POD_OF_OWN_NAMESPACE, "/host/sys/fs/cgroup"),
        (NODE_OF_KIND, "/sys/fs/cgroup"),
        (SPACES, "/srv/my tree"),
    ],
)
def test_root_of_the_tree(mountinfo: str, root: str) -> None:
    assert find_root(mountinfo) == Path(root)


def test_host_with_cgroup_v1_alone_has_none() -> None:
    assert find_root(HYBRID.rsplit("\n", 2)[0] + "\n") is None
    assert find_root("") is None
