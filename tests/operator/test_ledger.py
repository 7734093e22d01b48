# SPDX-License-Identifier: Apache-2.0
"""The figure of a job over reports, deleted nodes and changes of leader."""

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings

from eunomia_api import agent_pb2
from eunomia_operator.accounting.ledger import Census, Ledger, NodeReport
from eunomia_operator.accounting.tally import NOTHING, Tally

NODES = ["node-a", "node-b", "node-c"]


def tally(
    delivered: int = 0, lost: int = 0, limited: int = 0, sampled_out: int = 0, unclassified: int = 0
) -> Tally:
    """Return counts of which every event came to its end."""
    matched = delivered + lost + limited + sampled_out
    return Tally(matched, delivered, lost, limited, sampled_out, unclassified)


def said(delivered: int, lost: int = 0, **more: int) -> NodeReport:
    return NodeReport(
        generation=1,
        state=agent_pb2.JOB_STATE_RUNNING,
        pods=1,
        tally=tally(delivered, lost, **more),
    )


def test_a_node_that_is_deleted_leaves_what_it_counted() -> None:
    ledger = Ledger()
    ledger.report("node-a", said(10))
    ledger.report("node-b", said(5, 2))
    ledger.retire("node-a")
    assert (ledger.events, ledger.retired) == (tally(15, 2), tally(10))
    ledger.report("node-b", said(6, 2))
    assert ledger.events == tally(16, 2)


def test_a_new_leader_shows_the_old_figure_until_nodes_have_said_more() -> None:
    ledger = Ledger(published=tally(100, 7), retired=tally(20, 0))
    assert ledger.events == tally(100, 7)
    ledger.report("node-a", said(50))
    ledger.settle(NODES[:2])
    assert ledger.events == tally(100, 7)
    ledger.report("node-b", said(40, 7))
    ledger.settle(NODES[:2])
    assert (ledger.events, ledger.retired) == (tally(110, 7), tally(20, 0))


def test_what_a_node_counted_that_went_between_two_leaders_is_booked_once() -> None:
    ledger = Ledger(published=tally(100, 7), retired=tally(20, 0))
    ledger.report("node-b", said(40, 0))
    for _ in range(2):
        ledger.settle(["node-b"])
        assert (ledger.events, ledger.retired) == (tally(100, 7), tally(60, 7))
    ledger.report("node-b", said(41, 0))
    assert ledger.events == tally(101, 7)


def test_a_node_that_left_and_came_back_begins_anew() -> None:
    ledger = Ledger()
    ledger.report("node-a", said(10))
    ledger.withdraw("node-a")
    assert (ledger.events, ledger.pods) == (tally(10), 0)
    ledger.report("node-a", said(3))
    assert (ledger.events, ledger.retired) == (tally(13), tally(10))


def test_a_report_that_is_lower_than_the_last_one_lowers_nothing() -> None:
    ledger = Ledger()
    ledger.report("node-a", said(10, 3))
    ledger.report("node-a", said(2, 5))
    assert ledger.events == tally(10, 5)


def test_counts_nodes_by_state_and_leaves_out_what_nobody_speaks_for() -> None:
    ledger = Ledger()
    ledger.begin_generation(1)
    for node, state in zip(
        NODES,
        [agent_pb2.JOB_STATE_RUNNING, agent_pb2.JOB_STATE_FAILED, agent_pb2.JOB_STATE_WAITING],
        strict=True,
    ):
        ledger.report(node, NodeReport(1, state, reason="NoHook", message="no such hook"))
    desired = [*NODES, "node-d"]
    assert ledger.census(desired, ["node-c", "node-d"]) == Census(
        desired=4, answered=2, running=1, failed=1, unreachable=2
    )
    assert [(f.node, f.reason) for f in ledger.failures(["node-c", "node-d"])] == [
        ("node-b", "NoHook"),
        ("node-c", "Unreachable"),
        ("node-d", "Unreachable"),
    ]


def test_after_a_change_of_the_job_old_news_tells_only_of_totals() -> None:
    ledger = Ledger()
    ledger.begin_generation(1)
    ledger.report("node-a", NodeReport(1, agent_pb2.JOB_STATE_FAILED, tally=tally(1)))
    ledger.begin_generation(2)
    assert ledger.census(["node-a"], []) == Census(desired=1)
    ledger.report("node-a", NodeReport(1, agent_pb2.JOB_STATE_FAILED, tally=tally(4)))
    assert ledger.census(["node-a"], []) == Census(desired=1)
    assert (ledger.events, ledger.failures([])) == (tally(4), ())
    ledger.report("node-a", NodeReport(2, agent_pb2.JOB_STATE_RUNNING, tally=tally(5)))
    assert ledger.census(["node-a"], []) == Census(desired=1, answered=1, running=1)


def test_five_thousand_failures_are_told_by_their_worst_five() -> None:
    ledger = Ledger()
    for number in range(5000):
        state = agent_pb2.JOB_STATE_UNSUPPORTED if number else agent_pb2.JOB_STATE_FAILED
        ledger.report(f"node-{number:04}", NodeReport(1, state, reason="R"))
    assert [f.node for f in ledger.failures([])] == [f"node-{n:04}" for n in range(5)]


counted = st.tuples(*(st.integers(0, 5) for _ in range(5)))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.sampled_from(NODES), counted),
        st.tuples(st.just("report"), st.sampled_from(NODES)),
        st.tuples(st.just("delete"), st.sampled_from(NODES)),
        st.tuples(st.just("publish")),
        st.tuples(st.just("new leader")),
    ),
    max_size=60,
)


@dataclass
class Cluster:
    """The truth, and what its operators make of it."""

    nodes: dict[str, Tally] = field(default_factory=lambda: dict.fromkeys(NODES, NOTHING))
    gone: Tally = NOTHING
    told: set[str] = field(default_factory=set[str])
    ledger: Ledger = field(default_factory=Ledger)
    events: Tally = NOTHING
    retired: Tally = NOTHING
    lucky: bool = True
    """Whether every node that went had told all to a leader that published it."""

    def truth(self) -> Tally:
        return sum(self.nodes.values(), self.gone)

    def take(self, step: tuple[object, ...]) -> None:
        match step:
            case ("count", str(node), tuple(fields)) if node in self.nodes:
                self.nodes[node] += tally(*fields)
                self.told.discard(node)
            case ("report", str(node)) if node in self.nodes:
                self.ledger.report(
                    node, NodeReport(1, agent_pb2.JOB_STATE_RUNNING, tally=self.nodes[node])
                )
                self.told.add(node)
            case ("delete", str(node)) if node in self.nodes:
                self.lucky = self.lucky and node in self.told
                self.gone += self.nodes.pop(node)
                self.ledger.retire(node)
            case ("publish",):
                self.publish()
            case ("new leader",):
                self.lucky = self.lucky and self.ledger.events == self.events
                self.ledger = Ledger(self.events, self.retired)
                self.told.clear()
            case _:
                pass

    def publish(self) -> None:
        self.ledger.settle(self.nodes)
        now = self.ledger.events
        assert self.events.beyond(now) == NOTHING, "a published figure went down"
        assert now.beyond(self.truth()) == NOTHING, "something was counted twice"
        shown = now.to_status()
        assert shown.matched == (shown.delivered + shown.lost + shown.limited + shown.sampled_out)
        self.events, self.retired = now, self.ledger.retired


@settings(max_examples=500, deadline=None)
@given(steps)
def test_never_down_nothing_twice_whatever_happens(schedule: list[tuple[object, ...]]) -> None:
    cluster = Cluster()
    for step in schedule:
        cluster.take(step)
    cluster.publish()


@settings(max_examples=500, deadline=None)
@given(steps)
def test_all_that_was_told_is_counted_while_one_leader_leads(
    schedule: list[tuple[object, ...]],
) -> None:
    cluster = Cluster()
    for step in schedule:
        if step != ("new leader",):
            cluster.take(step)
    for node in list(cluster.nodes):
        cluster.take(("report", node))
    cluster.publish()
    if cluster.lucky:
        assert cluster.events == cluster.truth()


def test_an_event_that_a_node_cannot_account_for_shows() -> None:
    ledger = Ledger()
    vanished = Tally(matched=10, delivered=9)
    ledger.report("node-a", NodeReport(1, agent_pb2.JOB_STATE_RUNNING, tally=vanished))
    assert ledger.events == vanished
    assert ledger.events.completeness_percent == 90
