# SPDX-License-Identifier: Apache-2.0
from eunomia_agent.containers.departed import Departed


def test_the_cgroups_that_went_last_are_remembered() -> None:
    departed = Departed(3)
    for cgroup in (1, 2, 3, 1, 4):
        departed.add(cgroup)

    assert [cgroup for cgroup in range(6) if cgroup in departed] == [1, 3, 4]
