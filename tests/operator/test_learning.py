# SPDX-License-Identifier: Apache-2.0
"""What thousands of nodes have learned, added up."""

import time

from hypothesis import given, settings
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
            call=NAMES,
        ),
        max_size=3,
    ),
    replicas=st.none() | st.integers(min_value=0, max_value=2**32 - 1),
    given=st.none()
    | st.builds(
        agent_pb2.Given,
        capabilities=st.lists(st.sampled_from(["CAP_CHOWN", "CAP_\n", "#77"]), max_size=3),
        privileged=st.booleans(),
        until_ms=st.integers(min_value=-(2**63), max_value=2**63 - 1),
    ),
)
NODES = st.sampled_from(["node-a", "node-b", "node-c"])


@settings(deadline=None)
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


def having(until_ms: int, *names: str, privileged: bool = False) -> agent_pb2.Learned:
    what = agent_pb2.Given(capabilities=names, until_ms=until_ms, privileged=privileged)
    return agent_pb2.Learned(container="web", runs=1, given=what)


def test_what_containers_have_is_that_of_those_that_run_now() -> None:
    learning = Learning()

    def web() -> agent_pb2.Learned:
        (found,) = learning.listed()["web"]
        return found

    learning.hear("node-a", [having(2000, "CAP_SYS_ADMIN", privileged=True)])
    learning.hear("node-b", [having(1000, "CAP_CHOWN")])
    learning.hear("old", [agent_pb2.Learned(container="web", runs=1)])
    assert web().given == having(2000, "CAP_SYS_ADMIN", privileged=True).given
    # The patch came: those that run now have less than that which ended.
    learning.hear("node-b", [having(0, "CAP_KILL")])
    learning.hear("node-c", [having(0, "CAP_NET_RAW", "rm -rf /")])
    assert web().given == having(0, "CAP_KILL", "CAP_NET_RAW").given
    for node in ("node-a", "node-b", "node-c"):
        learning.forget(node)
    assert not web().HasField("given")


def test_a_capability_comes_with_the_call_that_asked_in_the_most_runs() -> None:
    learning = Learning()

    def told(call: str, runs: int) -> agent_pb2.Learned:
        asked = agent_pb2.CapabilityCount(name="CAP_CHOWN", granted=1, call=call, runs=runs)
        return agent_pb2.Learned(container="web", runs=runs, capabilities=[asked])

    for node, call, runs in (
        ("node-a", "chown", 2),
        ("node-b", "fchownat", 3),
        ("node-c", "chown", 2),
        ("node-d", "rm -rf /", 9),
        ("node-e", "", 9),
    ):
        learning.hear(node, [told(call, runs)])

    def asked() -> tuple[str, int]:
        (web,) = learning.listed()["web"]
        (each,) = web.capabilities
        return each.call, each.granted

    assert asked() == ("chown", 5)
    learning.forget("node-c")
    assert asked() == ("fchownat", 4)


def test_one_more_report_costs_the_same_however_many_nodes_there_are() -> None:
    calls = [agent_pb2.CallCount(name=f"call_{number}", runs=3) for number in range(150)]
    report = agent_pb2.Learned(container="web", runs=3, calls=calls, architecture="SCMP_ARCH_X86")
    learning = Learning()
    for number in range(2000):
        learning.hear(f"node-{number}", [report])
    began = time.thread_time()
    learning.hear("node-7", [report])
    (web,) = learning.listed()["web"]
    assert time.thread_time() - began < 0.1
    assert (web.runs, web.calls[0].runs) == (6000, 6000)
