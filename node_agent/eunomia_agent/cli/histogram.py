# SPDX-License-Identifier: Apache-2.0
"""Histograms with bars, in units."""

from eunomia_agent.events.bars import bars
from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.rows import Rows, shown

SLOTS = "slots"


def blocks(rows: Rows, heads: list[str], unit: str) -> Lines:
    """Return a heading and a bar chart for each row; the lines of one row stay together.

    heads: what stands before each row's own columns. unit: of the values that were sorted.
    """
    names = [name for name in shown(rows.batch.layout) if name not in (SLOTS, "sum")]
    columns = [rows.batch.text(name) for name in names]
    slots = rows.batch.fixed[SLOTS].tolist()
    return Lines.of(
        "\n".join(
            [
                f"{head}  " + "  ".join(f"{n}={v}" for n, v in zip(names, values, strict=True)),
                *(f"  {line}".rstrip() for line in bars(each, unit)),
                "",
            ]
        ).encode()
        for head, each, *values in zip(heads, slots, *columns, strict=True)
    )
