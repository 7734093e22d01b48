# SPDX-License-Identifier: Apache-2.0
"""Why something could not be measured."""


class BenchError(Exception):
    """The message says what was wrong and, where it can, what to do."""
