# SPDX-License-Identifier: Apache-2.0
"""Records of the kernel, and the scan that begins and mends them."""

import os
from pathlib import Path

import numpy as np

from eunomia_agent import cgroups
from eunomia_agent.containers.watch import CgroupGone, CgroupMade, changes, scan
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.btf import Btf

OBJECT = Path(cgroups.__file__).parent / "objects/cgroups.bpf.o"
MADE, GONE = "cgroup_mkdir", "cgroup_rmdir"


def batch_of(*records: tuple[str, int, bytes]) -> Batch:
    """Records as the programs in the object make them."""
    layout = event_layout(Btf.of_object(OBJECT.read_bytes()), "cgroup_events")
    kinds = {name: kind for kind, name in layout.column("kind").values.items()}
    fixed = np.zeros(len(records), layout.dtype)
    starts = np.zeros(len(records), np.uint64)
    tail = b""
    for row, (kind, cgroup_id, path) in enumerate(records):
        fixed[row]["kind"] = kinds.get(kind, 99)
        fixed[row]["cgroup_id"] = cgroup_id
        fixed[row]["path"] = len(path) << 16 | layout.size if path else 0
        starts[row] = len(tail)
        tail += path
    return Batch(layout, fixed, tail, starts)


def test_records_tell_what_came_and_went_in_their_order() -> None:
    odd = b"/a\xff\n\x1b[2J"
    batch = batch_of((MADE, 2**63 + 7, b"/kubepods/podA/C"), (MADE, 8, odd), (GONE, 8, odd))
    assert list(changes(batch)) == [
        CgroupMade(2**63 + 7, "/kubepods/podA/C"),
        CgroupMade(8, "/a\\xff\n\x1b[2J"),
        CgroupGone(8),
    ]


def test_record_whose_path_could_not_be_read_says_nothing() -> None:
    batch = batch_of((MADE, 7, b""), (GONE, 8, b""), ("cgroup_freeze", 9, b"/a"))
    assert list(changes(batch)) == [None, CgroupGone(8), None], "not the host's"


def test_scan_finds_parents_first_and_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "kubepods/podA/C").mkdir(parents=True)
    (tmp_path / "system.slice").mkdir()
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kubepods")
    seen = scan(tmp_path, 100)
    found = seen.found
    assert seen.unseen == ""
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
    assert len(scan(tmp_path, 2).found) == 2
    assert scan(tmp_path, 2).unseen == "there are more than 2 cgroups"


def test_scan_names_what_is_no_text_as_records_do(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/user\xff/below"
    os.makedirs(odd)
    paths = [made.path for made in scan(tmp_path, 100).found]
    assert paths == ["/", "/user\\xff", "/user\\xff/below"]
    (record,) = changes(batch_of((MADE, 8, b"/user\xff/below")))
    assert record == CgroupMade(8, paths[-1])


def test_scan_of_the_machine_itself(hierarchy: Path) -> None:
    found = scan(hierarchy, 65536).found
    assert found[0] == CgroupMade(hierarchy.stat().st_ino, "/")
    assert len({made.cgroup_id for made in found}) == len(found)
