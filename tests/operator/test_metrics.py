# SPDX-License-Identifier: Apache-2.0
"""Every metric that the operator has is in its page."""

import re
from pathlib import Path

from eunomia_operator.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs/metrics.md"


def test_the_page_names_every_metric_of_the_operator() -> None:
    named = {
        name.replace("…", "eunomia_operator")
        for name in re.findall(r"`((?:eunomia_operator|…)_[a-z_]+)`", PAGE.read_text())
    }
    families = Metrics().registry.collect()
    ours = {
        f"{each.name}_total" if each.type == "counter" else each.name
        for each in families
        if each.name.startswith("eunomia_")
    }
    assert ours <= named
