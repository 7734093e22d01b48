# SPDX-License-Identifier: Apache-2.0
"""What an expression may name: a row's columns, and who the row belongs to."""

import errno
import signal
from collections.abc import Sequence
from typing import Protocol

from eunomia_api.where import types
from eunomia_api.where.types import Type

OWNER = ("namespace", "pod", "pod_uid", "container", "container_id", "image", "node")
"""The same in all rows of one cgroup; strings, as in the row where that has them. Columns of such
names go first."""
LABELS = "labels"
"""The pod's labels, or those of a container that is in none: a map, the same in all rows too."""
KUBERNETES_API = "kubernetes_api"
"""The address of the service by which pods reach the API server; "" where none is known."""
CONSTANTS = (*OWNER, KUBERNETES_API)
"""What expressions may name beside columns and labels: texts that are the same in all rows."""


class Column(Protocol):
    """A column of a tracker's rows; see eunomia_api.tracker.CatalogueColumn."""

    @property
    def name(self) -> str:
        """Its name in the row."""
        ...

    @property
    def type(self) -> str:
        """The typedef that carries its meaning, or the C type."""
        ...

    @property
    def json_type(self) -> str:
        """What a row holds: string, integer, number, boolean or array."""
        ...

    @property
    def values(self) -> Sequence[str]:
        """All values of an enumeration."""
        ...

    @property
    def unit(self) -> str:
        """The unit of a number."""
        ...


_SCALARS = {"string": types.STRING, "number": types.DOUBLE, "boolean": types.BOOL}
UNUSABLE = frozenset({"boot_ns_t"})
"""Dates: a row has them as text, and no question about them is one of the row alone."""


def type_of(column: Column) -> Type:
    """Return the type that a column has in an expression."""
    if column.json_type == "array":
        return types.list_of(_element(column.type))
    if column.json_type == "integer":
        time = column.type == "duration_t" or column.unit == "ns"
        return types.NANOSECONDS if time else types.INT
    return _SCALARS[column.json_type]


def _element(type_name: str) -> Type:
    if type_name == "args_t":
        return types.STRING
    floating = type_name.startswith(("float", "double"))
    return types.DOUBLE if floating else types.INT


def known_values(column: Column) -> Sequence[str]:
    """Return all names that a text column may hold; empty where any text may stand.

    What has no name stands in the row as a decimal number, which is not in here.
    """
    if column.values:
        return column.values
    if column.type == "errno_t":
        return ["", *errno.errorcode.values(), *_RESTARTS]
    if column.type == "signal_t":
        least, most = signal.SIGRTMIN, signal.SIGRTMAX
        real_time = [f"SIGRTMIN+{number}" for number in range(1, most - least)]
        return ["", *(each.name for each in signal.Signals), *real_time]
    return []


_RESTARTS = ("ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK", "ENOTSUPP")


def same_error(name: str) -> str | None:
    """Return the name under which rows tell an error that has two, such as EWOULDBLOCK."""
    number = getattr(errno, name, None) if name.isupper() else None
    return errno.errorcode.get(number) if isinstance(number, int) else None
