# SPDX-License-Identifier: Apache-2.0
"""How much a policy may ask of those who read its expressions: operator and agents. Pure."""

from eunomia_api.policy import AddedException
from eunomia_api.rule import Rule

MAX_OWN_CHARACTERS = 32_768
"""Of all expressions that a policy brings itself, each counted once for every tracker that it is
read for: reading so many takes well under a second. The whole library has 25,000."""


class Allowance:
    """What is left of it for the rules of one policy, in their order."""

    def __init__(self) -> None:
        self._left = MAX_OWN_CHARACTERS

    def take(self, rule: Rule, *, built_in: bool) -> str:
        """Return why there is no room for a rule; empty where there is.

        Nothing is parsed for it. Of a built-in rule, the exceptions that the policy adds count.
        """
        own = [each.when for each in rule.exceptions if isinstance(each, AddedException)]
        if not built_in:
            own = [rule.when, *(each.when for each in rule.exceptions)]
        wanted = sum(map(len, own)) * len(rule.events)
        if wanted <= self._left:
            self._left -= wanted
            return ""
        return (
            f"when and exceptions: {wanted} characters, counted once for each of"
            f" {len(rule.events)} events, and the rules before leave {self._left} of the"
            f" {MAX_OWN_CHARACTERS} that a policy may have in all: shorten them, or make two"
            " policies"
        )
