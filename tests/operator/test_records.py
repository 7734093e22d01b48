# SPDX-License-Identifier: Apache-2.0
"""Packed rows say the same as plain ones, also when nodes come and go."""

import hypothesis.strategies as st
from hypothesis import given

from eunomia_operator.accounting.records import Rows, Slots

NODES = ["node-a", "node-b", "node-c", "node-d"]
Row = tuple[int, ...]
rows = st.tuples(st.integers(0, 6), st.integers(0, 2**15), st.integers(0, 2**48))
steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 1), st.sampled_from(NODES), rows),
        st.tuples(st.integers(0, 1), st.sampled_from(NODES), st.none()),
        st.tuples(st.none(), st.sampled_from(NODES), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_two_objects_keep_their_nodes_apart(
    schedule: list[tuple[int | None, str, Row | None]],
) -> None:
    slots = Slots()
    packed = [Rows(slots, "BIQ"), Rows(slots, "BIQ")]
    plain: list[dict[str, Row]] = [{}, {}]
    for which, node, row in schedule:
        if which is None:
            for of_an_object, same in zip(packed, plain, strict=True):
                of_an_object.remove(node)
                same.pop(node, None)
            slots.release(node)
        elif row is None:
            packed[which].remove(node)
            plain[which].pop(node, None)
        else:
            packed[which].put(node, row)
            plain[which][node] = row
    for of_an_object, same in zip(packed, plain, strict=True):
        assert {node: of_an_object.get(node) for node in NODES if node in of_an_object} == same
        assert of_an_object.set_all(3) == len(same)
        for node, row in same.items():
            assert of_an_object.get(node) == (3, *row[1:])


def test_numbers_of_nodes_that_are_gone_are_used_again() -> None:
    slots = Slots()
    for number in range(10_000):
        node = f"node-{number}"
        assert slots.take(node) < 2
        slots.release(f"node-{number - 1}")
