# SPDX-License-Identifier: Apache-2.0
"""What was found out about a container without a rule of its policy: it is told as an alert."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eunomia_agent.containers.owner import Owner

REFUSED = "Refused"
"""The response of an alert that tells what the kernel did not let happen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one container, which is told once.

    rule: of eunomia_api.findings. key: which thing of this rule. at: ns of CLOCK_BOOTTIME. row:
    what is known of it, as JSON has it; message: a template over that. response: REFUSED, or empty.
    dry_run: it would be refused.
    """

    rule: str
    key: str
    owner: Owner
    at: int
    message: str
    row: Mapping[str, Any] = field(default_factory=dict[str, Any])
    count: int = 1
    response: str = ""
    dry_run: bool = False
