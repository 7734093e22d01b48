# SPDX-License-Identifier: Apache-2.0
"""Why a rule cannot be judged."""

from eunomia_agent.errors import AgentError


class RuleInvalid(AgentError):
    """A rule is wrong; field: which part of it, as YAML calls it, and within a list which one."""

    def __init__(self, reason: str, *field: str | int) -> None:
        super().__init__(reason)
        self.field = field


class RowInvalid(AgentError):
    """A recorded row is none of its tracker's."""
