# SPDX-License-Identifier: Apache-2.0
"""`where`: conditions on a tracker's rows, in the part of CEL that they need.

See the Common Expression Language's specification, github.com/google/cel-spec. lark and RE2 are
loaded when the first expression and the first pattern come.
"""

from eunomia_api.where.column import CONSTANTS, KUBERNETES_API, LABELS, OWNER, Column
from eunomia_api.where.errors import WhereInvalid
from eunomia_api.where.expression import MAX_CHARACTERS, Expression, parse

__all__ = [
    "CONSTANTS",
    "KUBERNETES_API",
    "LABELS",
    "MAX_CHARACTERS",
    "OWNER",
    "Column",
    "Expression",
    "WhereInvalid",
    "parse",
]
