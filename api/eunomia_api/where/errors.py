# SPDX-License-Identifier: Apache-2.0
"""Why an expression cannot be used."""


class WhereInvalid(ValueError):
    """An expression is wrong.

    position: of the character at which it is wrong, counted from 0; reason: a clause without a full
    stop; line and column: the same place, counted from 1. The message is
    `at character 12: REASON`, or `at line 2, character 12: REASON` where there are several lines.
    """

    def __init__(self, position: int, reason: str, text: str = "") -> None:
        before = text[:position]
        self.position = position
        self.reason = reason
        self.line = before.count("\n") + 1
        self.column = position - (before.rfind("\n") + 1) + 1
        place = f"line {self.line}, character" if "\n" in text.strip() else "character"
        super().__init__(f"at {place} {self.column}: {reason}")
