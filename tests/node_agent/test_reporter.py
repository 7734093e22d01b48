# SPDX-License-Identifier: Apache-2.0
"""What the operator is told, and when."""

from typing import cast

import pytest

from eunomia_agent.link import reporter as reporter_module
from eunomia_agent.link.reporter import Reporter
from eunomia_agent.link.session import Session
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2


class Stream:
    """Stands for a session; keeps what is sent."""

    def __init__(self) -> None:
        self.report_interval = 5.0
        self.sent: list[agent_pb2.Report] = []
        self.up = True

    def send(self, message: agent_pb2.FromAgent) -> bool:
        if self.up:
            self.sent.append(message.report)
        return self.up


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reporter_module, "time", clock)
    return clock


def running(uid: str, **fields: object) -> agent_pb2.JobReport:
    return agent_pb2.JobReport(uid=uid, state=agent_pb2.JOB_STATE_RUNNING, **fields)  # type: ignore[arg-type]


def kept(delivered: int) -> dict[str, JobTotals]:
    return {"a": JobTotals({"opensnoop": Totals(matched=delivered, delivered=delivered)})}


def delivered(stream: Stream) -> list[int]:
    return [job.totals.delivered for report in stream.sent for job in report.jobs]


def test_counters_wait_as_long_as_the_operator_asked_and_states_do_not(clock: Clock) -> None:
    stream, reporter = Stream(), Reporter("n1")
    session = cast(Session, stream)
    reporter.report(session, {"a": running("a")}, kept(1), [])
    reporter.report(session, {"a": running("a")}, kept(2), [])
    assert delivered(stream) == [1]
    reporter.report(session, {"a": running("a", pods=1)}, kept(3), [])
    assert delivered(stream) == [1, 3]
    reporter.report(session, {"a": running("a", pods=1)}, kept(4), [])
    clock.now += 5
    reporter.report(session, {"a": running("a", pods=1)}, kept(5), [])
    clock.now += 5
    reporter.report(session, {"a": running("a", pods=1)}, kept(5), [])
    assert delivered(stream) == [1, 3, 5]
    assert {report.node for report in stream.sent} == {"n1"}


def test_what_is_not_on_the_disk_is_not_told(clock: Clock) -> None:
    stream, reporter = Stream(), Reporter("n1")
    fresh = running("a", totals=agent_pb2.Totals(matched=9, delivered=9))
    reporter.report(cast(Session, stream), {"a": fresh}, kept(7), ["state: no space"])
    assert delivered(stream) == [7]
    assert stream.sent[0].jobs[0].degraded == "state: no space"


def test_a_new_stream_hears_all_and_a_broken_one_hears_it_again(clock: Clock) -> None:
    stream, reporter = Stream(), Reporter("n1")
    session = cast(Session, stream)
    stream.up = False
    reporter.report(session, {"a": running("a")}, kept(1), [])
    stream.up = True
    reporter.report(session, {"a": running("a")}, kept(1), [])
    reporter.begin()
    reporter.report(session, {"a": running("a")}, kept(1), [])
    assert delivered(stream) == [1, 1]


def test_many_jobs_go_in_messages_of_bounded_size(clock: Clock) -> None:
    stream, reporter = Stream(), Reporter("n1")
    reports = {str(n): running(str(n), message="x" * 1024) for n in range(120)}
    reporter.report(cast(Session, stream), reports, {}, [])
    assert [len(report.jobs) for report in stream.sent] == [50, 50, 20]
    assert max(report.ByteSize() for report in stream.sent) < 1 << 20


def test_what_policies_learned_goes_in_messages_of_bounded_size(clock: Clock) -> None:
    learned = agent_pb2.Learned(container="x" * 300_000)
    reports = {
        str(number): running(str(number), policy=agent_pb2.PolicyReport(learned=[learned]))
        for number in range(7)
    }
    stream = Stream()
    Reporter("n1").report(cast(Session, stream), reports, {}, [])
    assert [len(report.jobs) for report in stream.sent] == [3, 3, 1]


def test_a_policys_counts_are_those_on_the_disk_and_a_wrong_rule_is_news_at_once(
    clock: Clock,
) -> None:
    def policy(alerts: int, *problems: str) -> agent_pb2.PolicyReport:
        told = [agent_pb2.RuleProblem(rule=each) for each in problems]
        return agent_pb2.PolicyReport(alerts=alerts, problems=told)

    def on_disk(report: agent_pb2.PolicyReport) -> dict[str, JobTotals]:
        return {"p": JobTotals(policy=report.SerializeToString())}

    stream, reporter = Stream(), Reporter("n1")
    session = cast(Session, stream)
    learned = agent_pb2.Learned(container="main")
    raw = running("p", policy=agent_pb2.PolicyReport(alerts=9, learned=[learned]))
    reporter.report(session, {"p": raw}, on_disk(policy(7)), [])
    reporter.report(session, {"p": raw}, on_disk(policy(8)), [])
    reporter.report(session, {"p": raw}, on_disk(policy(8, "typo")), [])
    told = [report.jobs[0].policy for report in stream.sent]
    assert [(each.alerts, len(each.problems)) for each in told] == [(7, 0), (8, 1)]
    assert [each.learned[0].container for each in told] == ["main", "main"]


def test_which_profiles_lie_here_is_told_once_a_stream_and_when_it_changes() -> None:
    stream, reporter = Stream(), Reporter("n1")
    session = cast(Session, stream)
    there = [agent_pb2.SeccompFileReport(path="eunomia/a/b.json", sha256="00")]
    for files in ([], [], there, there, []):
        reporter.report_files(session, files)
    reporter.begin()
    stream.up = False
    reporter.report_files(session, [])
    stream.up = True
    reporter.report_files(session, [])
    assert all(report.has_seccomp_files and report.node == "n1" for report in stream.sent)
    assert [len(report.seccomp_files) for report in stream.sent] == [0, 1, 0, 0]


def test_how_many_pods_got_a_profile_is_told_at_once(clock: Clock) -> None:
    stream, reporter = Stream(), Reporter("n1")
    session = cast(Session, stream)
    for bound, bare in ((0, 0), (0, 0), (2, 0), (2, 1)):
        policy = agent_pb2.PolicyReport(bound_pods=bound, unprotected_pods=bare)
        reporter.report(session, {"a": running("a", policy=policy)}, {}, ())
        clock.now += 0.1
    told = [job.policy for report in stream.sent for job in report.jobs]
    assert [(each.bound_pods, each.unprotected_pods) for each in told] == [(0, 0), (2, 0), (2, 1)]


def test_what_pods_wear_is_not_told_while_it_is_not_known() -> None:
    stream, reporter = Stream(), Reporter("n1")
    unknown = running("a", policy=agent_pb2.PolicyReport())
    reporter.report(cast(Session, stream), {"a": unknown}, {}, ())
    assert not stream.sent[0].jobs[0].policy.HasField("bound_pods")
