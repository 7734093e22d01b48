# SPDX-License-Identifier: Apache-2.0
"""What user space writes into the kernel's maps of targets."""

import errno
import struct

import pytest

from eunomia_agent.containers.targets import Targets
from eunomia_agent.kernel.errors import KernelError, ObjectInvalid

FIRST = struct.pack("=I", 0)
CLASSIFIED, PENDING, REFUSED = 0, 1, 2


class MapInMemory(dict[bytes, bytes]):
    """A map of the kernel's. room: how many entries it takes."""

    name = "targets"

    def __init__(self, key_size: int, value_size: int) -> None:
        super().__init__()
        self.key_size, self.value_size = key_size, value_size
        self.room = 100

    lookup = dict.get

    def update(self, key: bytes, value: bytes) -> None:  # type: ignore[override]
        if key not in self and len(self) >= self.room:
            raise KernelError("map targets: cannot be written", errno.E2BIG)
        self[key] = value

    def snapshot(self) -> tuple[bytes, bytes]:
        return b"".join(self), b"".join(self.values())

    def delete(self, key: bytes) -> None:
        del self[key]


class Kernel:
    """The maps of cgroups.bpf.c, and what its programs would do."""

    def __init__(self) -> None:
        self.targets = MapInMemory(8, 16)
        self.limit, self.count = MapInMemory(4, 24), MapInMemory(4, 24)
        self.count[FIRST] = struct.pack("=QQQ", 5, 2, 1)

    def made(self, cgroup_id: int, jobs: int, state: int) -> None:
        self.targets[struct.pack("=Q", cgroup_id)] = struct.pack("=QII", jobs, state, 0)

    def entry(self, cgroup_id: int) -> tuple[int, ...] | None:
        value = self.targets.get(struct.pack("=Q", cgroup_id))
        return struct.unpack("=QII", value) if value else None

    @property
    def pending_limit(self) -> tuple[int, ...]:
        return struct.unpack("=QQQ", self.limit[FIRST])


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def targets(kernel: Kernel) -> Targets:
    return Targets(kernel.targets, kernel.limit, kernel.count, bound=16)


def test_cgroup_becomes_a_target_and_ceases_to_be_one(kernel: Kernel, targets: Targets) -> None:
    targets.set(7, 0b101, inherit=True)
    assert kernel.entry(7) == (0b101, CLASSIFIED, 1)
    targets.set(7, 0b100, inherit=True)
    assert kernel.entry(7) == (0b100, CLASSIFIED, 1)
    targets.set(7, 0, inherit=True)
    assert kernel.entry(7) is None
    targets.delete(7)  # of what is not there
    targets.set(1, 1 << 63, inherit=False)
    assert kernel.entry(1) == (1 << 63, CLASSIFIED, 0)


def test_a_containers_own_cgroup_stays_known_to_the_kernel_when_nobody_watches_it(
    kernel: Kernel, targets: Targets
) -> None:
    targets.set(7, 0b1, inherit=True, lasting=True)
    targets.set(7, 0, inherit=True, lasting=True)
    targets.set(8, 0, inherit=False, lasting=True)
    assert kernel.entry(7) == kernel.entry(8) == (0, CLASSIFIED, 1)
    targets.delete(7)
    assert kernel.entry(7) is None


def test_each_pending_cgroup_gives_its_place_back_once(kernel: Kernel, targets: Targets) -> None:
    targets.set_candidates(0b11)
    assert kernel.pending_limit == (0b11, 0, 16)
    for cgroup_id in (7, 8, 9):
        kernel.made(cgroup_id, 0b11, PENDING)
    kernel.made(10, 0b11, REFUSED)
    targets.set(7, 0b01, inherit=True)
    targets.set(7, 0b01, inherit=True)
    targets.set(8, 0, inherit=True)
    targets.delete(9)
    targets.set(10, 0b10, inherit=True)
    assert (kernel.entry(7), kernel.entry(10)) == ((0b01, CLASSIFIED, 1), (0b10, CLASSIFIED, 1))
    assert kernel.entry(8) is kernel.entry(9) is None
    assert kernel.pending_limit == (0b11, 3, 16)
    assert (targets.refused, targets.lost) == (2, 1)


def test_cgroup_that_is_older_than_the_job_takes_a_place_too(
    kernel: Kernel, targets: Targets
) -> None:
    targets.pend(7)
    assert kernel.entry(7) is None, "there is no job that it could belong to"
    targets.set_candidates(0b10)
    targets.pend(7)
    assert kernel.entry(7) == (0b10, PENDING, 0)
    assert kernel.pending_limit == (0b10, 2**64 - 1, 16), "the kernel's count wraps likewise"
    targets.set_candidates(0b110)
    targets.pend(7)
    assert kernel.entry(7) == (0b110, PENDING, 0)
    targets.set(7, 0b100, inherit=True)
    assert kernel.entry(7) == (0b100, CLASSIFIED, 1)
    assert kernel.pending_limit == (0b110, 0, 16)


def test_cgroup_that_inherited_its_jobs_gets_no_candidates(
    kernel: Kernel, targets: Targets
) -> None:
    targets.set_candidates(0b110)
    kernel.made(7, 0b001, CLASSIFIED)
    kernel.made(8, 0b010, REFUSED)
    targets.pend(7)
    targets.pend(8)
    assert kernel.entry(7) == (0b001, CLASSIFIED, 0)
    assert kernel.entry(8) == (0b110, REFUSED, 0), "still counted, for the new job too"


def test_full_table_turns_cgroups_away_and_takes_none_of_their_places(
    kernel: Kernel, targets: Targets
) -> None:
    kernel.targets.room = 1
    targets.set(7, 0b1, inherit=True)
    targets.set_candidates(0b1)
    targets.set(8, 0b1, inherit=True)
    targets.pend(9)
    assert targets.ids() == [7]
    assert targets.refused == 2 + 2
    assert kernel.pending_limit == (0b1, 0, 16)


def test_maps_of_another_make_are_refused() -> None:
    old = MapInMemory(8, 24)
    with pytest.raises(ObjectInvalid, match=r"values of 24 bytes where this agent writes 8 and 16"):
        Targets(old, MapInMemory(4, 24), MapInMemory(4, 24))
