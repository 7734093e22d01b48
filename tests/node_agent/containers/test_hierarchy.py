# SPDX-License-Identifier: Apache-2.0
"""The hierarchy to watch and the mount that shows most of it, on machines as they are."""

from pathlib import Path

import pytest

from eunomia_agent.containers.hierarchy import Hierarchy, find, find_root

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
TORN = "30 23 0:26 / /srv/my\x0b\udcfftree rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "root"),
    [
        (HYBRID, "/sys/fs/cgroup/unified"),
        (UNIFIED, "/sys/fs/cgroup"),
        (POD_OF_HOST_NAMESPACE, "/host/sys/fs/cgroup"),
        (POD_OF_OWN_NAMESPACE, "/host/sys/fs/cgroup"),
        (NODE_OF_KIND, "/sys/fs/cgroup"),
        (SPACES, "/srv/my tree"),
        (TORN, "/srv/my\x0b\udcfftree"),
    ],
)
def test_root_of_the_tree(mountinfo: str, root: str) -> None:
    assert find_root(mountinfo) == Path(root)

    assert find(mountinfo, UNIFIED_PROCESS) == Hierarchy(Path(root))


V1 = HYBRID.rsplit("\n", 2)[0] + "\n"
V1_JOINED = V1.replace("rw,pids", "rw,cpuset,pids").replace("cgroup/pids", "cgroup/cpuset,pids")
V1_IN_A_POD = """\
60 50 0:22 /kubepods/podA/C /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
61 50 0:22 / /host/sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
"""
V1_PROCESS = "8:pids,cpuset:/user.slice\n4:memory:/user.slice\n1:name=systemd:/\n"
UNIFIED_PROCESS = "0::/user.slice\n"


@pytest.mark.parametrize(
    ("mountinfo", "root"),
    [
        (V1, "/sys/fs/cgroup/pids"),
        (V1_JOINED, "/sys/fs/cgroup/cpuset,pids"),
        (V1_IN_A_POD, "/host/sys/fs/cgroup/pids"),
    ],
)
def test_host_with_v1_alone_is_seen_by_its_pids_controller(mountinfo: str, root: str) -> None:
    assert find_root(mountinfo) is None
    assert find(mountinfo, V1_PROCESS) == Hierarchy(Path(root), 8)


@pytest.mark.parametrize(
    ("mountinfo", "memberships"),
    [("", UNIFIED_PROCESS), ("", ""), (V1, "1:name=systemd:/\n"), (V1, "pids\n::\nx:pids:/\n")],
)
def test_where_nothing_is_mounted_v2_is_watched_all_the_same(
    mountinfo: str, memberships: str
) -> None:
    assert find(mountinfo, memberships) == Hierarchy(None)


def test_root_that_is_named_is_of_the_hierarchy_that_is_mounted_there() -> None:
    pids, unified = Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup/unified/mine")
    assert find(HYBRID, V1_PROCESS, pids) == Hierarchy(pids, 8)
    assert find(HYBRID, V1_PROCESS, unified) == Hierarchy(unified)
    assert find("", "", Path("/elsewhere")) == Hierarchy(Path("/elsewhere"))
