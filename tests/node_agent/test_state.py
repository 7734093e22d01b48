# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from eunomia_agent.errors import StateError
from eunomia_agent.silence import Moment
from eunomia_agent.state import Desired, JobTotals, Store
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    state = agent_pb2.DesiredState(generation=3, jobs=[agent_pb2.Job(uid="a", name="opens")])
    report = agent_pb2.PolicyReport(alerts=3, killed=1).SerializeToString()
    totals = {
        "a": JobTotals({"opensnoop": Totals(matched=5, delivered=5)}, gaps=1, running=True),
        "p": JobTotals({"access": Totals(matched=1, delivered=1, enforced=1)}, policy=report),
    }
    store.save_desired(Desired(state, "node-uid", Moment(12.5, 3.5, "b00t")))
    store.save_totals(totals)
    store.save_learned({"books": []})

    again = Store(tmp_path / "state")
    assert again.load_desired() == Desired(state, "node-uid", Moment(12.5, 3.5, "b00t"))
    assert again.load_totals() == totals
    assert again.load_learned() == {"books": []}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "totals.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{", b'{"a": 1}', b'{"state": "zz", "heard": 0}']
)
def test_a_file_that_was_damaged_is_as_none(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    (tmp_path / "desired.json").write_bytes(content)
    (tmp_path / "totals.json").write_bytes(content)
    (tmp_path / "learned.json").write_bytes(content)
    assert store.load_desired() is None
    assert store.load_totals() == {}
    assert not store.load_learned().keys() & {"books", "runs"}


def test_totals_of_an_agent_that_knew_no_policies_are_taken_on(tmp_path: Path) -> None:
    old = '{"a": {"trackers": {}, "gaps": 2, "running": false, "finished_deadline_ms": 0}}'
    (tmp_path / "totals.json").write_text(old)
    assert Store(tmp_path).load_totals() == {"a": JobTotals(gaps=2)}


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    store = Store(tmp_path / "state")
    (tmp_path / "state" / ".totals.json.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        store.save_totals({})
    assert victim.read_text() == "mine"


def test_a_folder_that_cannot_be_made_says_which_setting_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file/state: Not a directory; .*EUNOMIA_STATE_DIR"):
        Store(tmp_path / "file" / "state")
