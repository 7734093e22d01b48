# SPDX-License-Identifier: Apache-2.0
"""How long the operator has been silent does not go by a clock that can be set back."""

import json
from pathlib import Path

import pytest

from eunomia_agent.silence import Moment
from eunomia_agent.state import Store

HOUR = 3600.0
HEARD = Moment(1_000_000.0, 500.0, "one")


@pytest.mark.parametrize(
    ("now", "silence"),
    [
        (Moment(1_000_060.0, 560.0, "one"), 60.0),
        (Moment(1_000_000.0 - 24 * HOUR, 500.0 + HOUR, "one"), HOUR),  # set back by a day
        (Moment(1_000_000.0 + 24 * HOUR, 501.0, "one"), 24 * HOUR),  # set ahead: better too early
        (Moment(1_000_000.0 - HOUR, 90.0, "two"), 90.0),  # the machine was started anew since
        (Moment(1_000_000.0 + HOUR, 90.0, "two"), HOUR),
        (Moment(999_000.0, 0.0, ""), 0.0),
    ],
)
def test_the_more_of_both_clocks_counts(now: Moment, silence: float) -> None:
    assert HEARD.until(now) == silence


def test_this_moment_is_known_by_both_clocks() -> None:
    one, two = Moment.now(), Moment.now()
    assert one.boot_id == two.boot_id != ""
    assert 0 <= one.until(two) < 60


def test_what_an_older_agent_kept_goes_by_the_one_clock_that_it_knew(tmp_path: Path) -> None:
    old = {"state": "", "node_uid": "u", "heard": 12.5}
    (tmp_path / "desired.json").write_text(json.dumps(old))
    desired = Store(tmp_path).load_desired()
    assert desired is not None
    assert desired.heard == Moment(12.5)
    assert desired.heard.until(Moment(20.0, 9_000.0, "one")) == 7.5
