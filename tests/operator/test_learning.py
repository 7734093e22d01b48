# SPDX-License-Identifier: Apache-2.0
"""What thousands of nodes have learned, added up."""

import time

from hypothesis import given
from hypothesis import strategies as st

from eunomia_api import agent_pb2
from eunomia_api.profile import merge
from eunomia_operator.learned.learning import Learning

NAMES = st.sampled_from(["read", "write", "mount", "#999", "rm -rf /"])
COUNTS = st.builds(
    agent_pb2.CallCount, name=NAMES, runs=st.integers(min_value=1, max_value=2**32 - 1)
)
REPORTS = st.builds(
    agent_pb2.Learned,
    container=st.sampled_from(["web", "db", "", "../x"]),
    runs=st.integers(min_value=0, max_value=2**32 - 1),
    calls=st.lists(COUNTS, max_size=4),
    compat_calls=st.lists(COUNTS, max_size=2),
    since_ms=st.integers(min_value=-(2**63), max_value=2**63 - 1),
    last_new_ms=st.integers(min_value=-(2**63), max_value=2**63 - 1),
    base=st.sampled_from(["", "Unconfined", "Filtered, Unconfined"]),
    architecture=st.sampled_from(["", "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]),
    refusals=st.lists(
        st.builds(
            agent_pb2.Refusal,
            call=NAMES,
            count=st.integers(min_value=0, max_value=2**64 - 1),
            comm=st.text(max_size=16),
            enforced=st.booleans(),
        ),
        max_size=3,
    ),
    capabilities=st.lists(
        st.builds(
            agent_pb2.CapabilityCount,
            name=st.sampled_from(["CAP_CHOWN", "CAP_\n", "#77"]),
            granted=st.integers(min_value=0, max_value=2**64 - 1),
        ),
        max_size=3,
    ),
)
NODES = st.sampled_from(["node-a", "node-b", "node-c"])


@given(told=st.lists(st.tuples(NODES, st.lists(REPORTS, max_size=3)), max_size=8))
def test_what_counts_is_what_each_node_told_last(
    told: list[tuple[str, list[agent_pb2.Learned]]],
) -> None:
    learning, fresh = Learning(), Learning()
    last: dict[str, list[agent_pb2.Learned]] = {}
    for node, reports in told:
        learning.hear(node, reports)
        last[node] = reports
    for node, reports in last.items():
        fresh.hear(node, reports)
    assert {name: merge(found) for name, found in learning.listed().items()} == {
        name: merge(found) for name, found in fresh.listed().items()
    }
    assert learning.listed().keys() <= {"web", "db"}
    for node in last:
        learning.forget(node)
    assert learning.listed() == {}


def test_one_more_report_costs_the_same_however_many_nodes_there_are() -> None:
    calls = [agent_pb2.CallCount(name=f"call_{number}", runs=3) for number in range(150)]
    report = agent_pb2.Learned(container="web", runs=3, calls=calls, architecture="SCMP_ARCH_X86")
    learning = Learning()
    for number in range(2000):
        learning.hear(f"node-{number}", [report])
    began = time.perf_counter()
    learning.hear("node-7", [report])
    (web,) = learning.listed()["web"]
    assert time.perf_counter() - began < 0.1
    assert (web.runs, web.calls[0].runs) == (6000, 6000)
