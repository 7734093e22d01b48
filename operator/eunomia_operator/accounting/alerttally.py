# SPDX-License-Identifier: Apache-2.0
"""How often the rules of a policy were broken, on one node or over many. Pure."""

from dataclasses import asdict, dataclass, fields

from eunomia_api import agent_pb2
from eunomia_api.policystatus import AlertCounts
from eunomia_operator.accounting.counts import Counts


@dataclass(frozen=True, slots=True)
class AlertTally(Counts):
    """Numbers of alerts, and of what was done about them; each only ever goes up."""

    events: int = 0
    """Of that severity, as the two that follow."""
    warnings: int = 0
    alerts: int = 0
    deduplicated: int = 0
    dropped: int = 0
    killed: int = 0
    denied: int = 0

    def to_status(self, isolated: int = 0) -> AlertCounts:
        """Return the form in which a status shows it. isolated: pods, which no node counts."""
        return AlertCounts(**asdict(self), isolated=isolated)


NO_ALERTS = AlertTally()
_NAMES = tuple(each.name for each in fields(AlertTally))


def tally_of(told: AlertCounts | agent_pb2.PolicyReport) -> AlertTally:
    """Return what a status shows, or an agent reported."""
    return AlertTally(*(getattr(told, name) for name in _NAMES))
