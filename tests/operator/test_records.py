# SPDX-License-Identifier: Apache-2.0
"""Packed records say the same as plain ones, also when nodes come and go."""

import hypothesis.strategies as st
from hypothesis import given

from eunomia_operator.records import Record, Records, Slots
from eunomia_operator.tally import Tally

NODES = ["node-a", "node-b", "node-c", "node-d"]
numbers = st.integers(0, 2**48)
records = st.builds(
    Record,
    st.integers(0, 6),
    st.integers(0, 2**15),
    st.integers(0, 2**15),
    st.builds(Tally, numbers, numbers, numbers, numbers, numbers, numbers),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 1), st.sampled_from(NODES), records),
        st.tuples(st.integers(0, 1), st.sampled_from(NODES), st.none()),
        st.tuples(st.none(), st.sampled_from(NODES), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_two_jobs_keep_their_nodes_apart(
    schedule: list[tuple[int | None, str, Record | None]],
) -> None:
    slots = Slots()
    packed = [Records(slots), Records(slots)]
    plain: list[dict[str, Record]] = [{}, {}]
    for job, node, record in schedule:
        if job is None:
            for of_a_job, same in zip(packed, plain, strict=True):
                of_a_job.remove(node)
                same.pop(node, None)
            slots.release(node)
        elif record is None:
            packed[job].remove(node)
            plain[job].pop(node, None)
        else:
            packed[job].put(node, record)
            plain[job][node] = record
    for of_a_job, same in zip(packed, plain, strict=True):
        assert {node: of_a_job.get(node) for node in NODES if node in of_a_job} == same
        assert of_a_job.set_all(3) == len(same)
        for node, record in same.items():
            assert of_a_job.get(node) == record._replace(state=3)


def test_numbers_of_nodes_that_are_gone_are_used_again() -> None:
    slots = Slots()
    for number in range(10_000):
        node = f"node-{number}"
        assert slots.take(node) < 2
        slots.release(f"node-{number - 1}")
