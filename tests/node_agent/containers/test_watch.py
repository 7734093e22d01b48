# SPDX-License-Identifier: Apache-2.0
"""Records of the kernel, and the scan that begins and mends them."""

import os
from pathlib import Path

from eunomia_agent.containers.watch import CgroupGone, CgroupMade, decode, scan


def test_record_of_a_new_cgroup(cgroup_record) -> None:
    assert decode(cgroup_record(7, "/kubepods/podA/C")) == CgroupMade(7, "/kubepods/podA/C")
    assert decode(cgroup_record(7, "/kubepods/podA/C", gone=True)) == CgroupGone(7)


def test_path_that_is_no_text_goes_through_unharmed(cgroup_record) -> None:
    made = decode(cgroup_record(7, os.fsdecode(b"/a\xff\n\x1b[2J")))
    assert made == CgroupMade(7, os.fsdecode(b"/a\xff\n\x1b[2J"))


def test_malformed_records_are_told_from_others(cgroup_record) -> None:
    whole = cgroup_record(7, "/kubepods")
    assert decode(b"") is None
    assert decode(whole[:40]) is None
    assert decode(whole[:-1]) is None, "the path goes beyond the record"
    assert decode(cgroup_record(7, "/kubepods", kind=9)) is None
    assert decode(cgroup_record(7, "")) is None, "not the host's: its path could not be read"


def test_scan_finds_parents_first_and_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "kubepods/podA/C").mkdir(parents=True)
    (tmp_path / "system.slice").mkdir()
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kubepods")
    found = scan(tmp_path, 100)
    assert sorted(made.path for made in found) == [
        "/",
        "/kubepods",
        "/kubepods/podA",
        "/kubepods/podA/C",
        "/system.slice",
    ]
    ids = {made.path: made.cgroup_id for made in found}
    assert ids["/kubepods/podA/C"] == (tmp_path / "kubepods/podA/C").stat().st_ino
    order = [made.path for made in found]
    assert (
        order.index("/kubepods") < order.index("/kubepods/podA") < order.index("/kubepods/podA/C")
    )
    assert len(scan(tmp_path, 2)) == 2


def test_scan_of_the_machine_itself(cgroup_root: Path) -> None:
    found = scan(cgroup_root, 65536)
    assert found[0] == CgroupMade(cgroup_root.stat().st_ino, "/")
    assert len({made.cgroup_id for made in found}) == len(found)
