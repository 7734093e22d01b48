# SPDX-License-Identifier: Apache-2.0
"""Broken rules, from the streams of the nodes to those who read of them."""

import json
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from prometheus_client import generate_latest

from eunomia_api import agent_pb2
from eunomia_api.alertreport import MAX_ALERTS, AlertReport, ReportedAlert
from eunomia_operator.alerts import alert as alerts
from eunomia_operator.alerts import desk as desk_module
from eunomia_operator.alerts.book import LARGEST_REPORT, AlertBook
from eunomia_operator.cluster.reaction import report_name
from eunomia_operator.objects.world import Reference

RULE = {
    "name": "shadow",
    "events": ["opensnoop"],
    "when": 'path == "/etc/shadow"',
    "message": "{path} was opened",
}


def alert(number: int, **changes: Any) -> agent_pb2.Alert:
    told = {
        "id": f"id-{number:04}",
        "sequence": number,
        "policy_uid": "uid-guard",
        "rule": "shadow",
        "severity": agent_pb2.SEVERITY_ALERT,
        "time_ns": (1767225600 + number) * 1_000_000_000,
        "message": "/etc/shadow was opened",
        "tracker": "opensnoop",
        "namespace": "shop",
        "pod": "web-1",
        "pod_uid": "uid-of-web-1",
        "container": "app",
        "container_id": "0123456789ab",
        "pid": 7,
        "comm": "cat",
        "ancestors": [agent_pb2.Ancestor(pid=6, comm="sh")],
        "evidence": '{"path":"/etc/shadow"}',
        "count": 1,
        **changes,
    }
    return agent_pb2.Alert(**told)


async def begin(story: Any, **changes: Any) -> None:
    story.policy("guard", rules=[{**RULE, **changes}])
    await story.look()


def metrics(story: Any) -> str:
    return generate_latest(story.metrics.registry).decode()


COUNTED = 'eunomia_operator_security_alerts_total{namespace="shop",policy="guard",rule="shadow"}'


async def test_an_alert_is_written_down_told_counted_and_then_taken(story: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(1))
    assert story.answers == []
    await story.look()  # it is asked what an earlier leader wrote
    await story.look()
    await story.look()
    assert story.answers == [("node-a", 1)]
    report = AlertReport.model_validate({"metadata": {}, **story.reports.bodies["guard"]})
    (told,) = report.alerts
    assert (told.id, told.time, told.node, told.pod) == (
        "id-0001",
        "2026-01-01T00:00:01Z",
        "node-a",
        "web-1",
    )
    assert (told.ancestors[0].comm, told.message) == ("sh", "/etc/shadow was opened")
    assert (report.total, report.dropped) == (1, 0)
    assert report.observed_since == "2026-01-01T00:00:00Z"
    assert f"{COUNTED} 1.0" in metrics(story)
    assert [(about, news.type, news.reason) for about, news in story.told] == [
        ("SecurityPolicy guard", "Warning", "SecurityAlert"),
        ("Pod web-1", "Warning", "SecurityAlert"),
    ]
    assert story.cut.asked == [], "nobody asked for the pod to be cut off"
    await story.look(6)
    last = story.status("guard")["lastAlert"]
    assert (last["rule"], last["severity"]) == ("shadow", "alert")


@pytest.mark.parametrize(
    ("severity", "type_", "reason"),
    [
        (agent_pb2.SEVERITY_EVENT, "Normal", "SecurityEvent"),
        (agent_pb2.SEVERITY_WARNING, "Warning", "SecurityWarning"),
    ],
)
async def test_an_event_alarms_nobody_and_a_warning_does(
    story: Any, severity: Any, type_: str, reason: str
) -> None:
    await begin(story)
    story.alert("node-a", alert(1, severity=severity))
    for _ in range(4):
        await story.look(1)
    assert {(news.type, news.reason) for _, news in story.told} == {(type_, reason)}


async def test_arguments_are_for_those_alone_who_may_read_alert_reports(story: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(1, message="curl -u admin:hunter2", evidence='{"args":"hunter2"}'))
    for _ in range(8):
        await story.look(1)
    assert "hunter2" in json.dumps(story.reports.bodies["guard"])
    assert "hunter2" not in json.dumps(story.status("guard"))
    assert not any("hunter2" in news.message for _, news in story.told)


async def test_what_agents_find_out_without_a_rule_says_what_it_is_wherever_it_is_told(
    story: Any,
) -> None:
    story.policy("guard", seccomp={"mode": "Enforce"})
    await story.look()
    message = "sh (42) called mount, which its seccomp profile refused"
    fields = {"severity": agent_pb2.SEVERITY_WARNING, "message": message, "response": "Refused"}
    story.alert("node-a", alert(1, rule="call-refused", tracker="", **fields))
    for _ in range(8):
        await story.look(1)
    (told,) = story.reports.alerts("guard")
    assert (told["rule"], told["response"], told["dryRun"]) == ("call-refused", "Refused", False)
    where = f"shop/web-1 (app) on node node-a: {message}"
    assert [
        (about, each.reason, each.message.split(";")[0]) for about, each in story.told[-2:]
    ] == [
        ("SecurityPolicy guard", "SecurityWarning", f"call-refused: {where}"),
        ("Pod web-1", "SecurityWarning", f"call-refused: {where}"),
    ]
    assert story.status("guard")["lastAlert"]["message"] == where
    counted = 'eunomia_operator_security_warnings_total{namespace="shop",policy="guard"'
    assert f'{counted},rule="call-refused"}} 1.0' in metrics(story)


async def test_one_that_is_told_twice_is_there_once_also_for_the_next_leader(story: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(1), alert(2))
    story.alert("node-a", alert(2))
    for _ in range(4):
        await story.look(1)
    assert story.answers[-1] == ("node-a", 2)
    before = len(story.told)
    since = story.reports.bodies["guard"]["observedSince"]

    story.lead()
    story.node("node-a")
    await begin(story)
    story.alert("node-a", alert(1), alert(2), alert(3))
    for _ in range(4):
        await story.look(1)
    assert [each["id"] for each in story.reports.alerts("guard")] == [
        "id-0003",
        "id-0002",
        "id-0001",
    ]
    assert story.reports.bodies["guard"]["total"] == 3
    assert story.reports.bodies["guard"]["observedSince"] == since
    assert (before, len(story.told)) == (4, 2)
    assert f"{COUNTED} 1.0" in metrics(story)
    assert story.answers == [("node-a", 3)]


async def test_a_report_is_written_every_two_seconds_at_most(story: Any) -> None:
    await begin(story)
    for number in range(1, 41):
        story.alert("node-a", alert(number))
        await story.look(0.25)
    assert 5 <= len(story.reports.writes) <= 6
    await story.look(2)
    await story.look()
    assert story.answers[-1] == ("node-a", 40)


async def test_what_is_not_written_down_stays_with_the_agent(story: Any) -> None:
    await begin(story)
    story.reports.away = True
    for number in range(1, 200):
        story.alert("node-a", alert(number))
        await story.look(0.1)
    assert story.answers == []
    story.reports.away = False
    for _ in range(40):
        await story.look(1)
    assert story.answers[-1] == ("node-a", 199)
    assert story.reports.bodies["guard"]["total"] == 199
    assert story.reports.bodies["guard"]["dropped"] == 99


async def test_a_new_stream_is_answered_for_what_it_told_itself(story: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(500))
    story.dial("node-a")  # the agent has lost its disk, and counts from one
    story.alert("node-a", alert(1))
    for _ in range(4):
        await story.look(1)
    assert story.answers == [("node-a", 1)]


async def test_a_flood_from_one_pod_leaves_room_for_the_others(story: Any) -> None:
    await begin(story)
    story.alert("node-b", alert(1, id="quiet", pod="quiet", pod_uid="q"))
    for number in range(2, 2000, 50):
        batch = [alert(each) for each in range(number, number + 50)]
        story.alert("node-a", *batch)
        await story.look(0.5)
    await story.look(2)
    await story.look()
    told = story.reports.alerts("guard")
    assert len(told) == MAX_ALERTS
    assert (told[0]["id"], told[-1]["id"]) == ("id-2001", "quiet")
    assert story.reports.bodies["guard"]["total"] == 2001
    story.alert("node-a", alert(2), alert(5000))  # the first has left the list long ago
    for _ in range(8):
        await story.look(2)
    assert story.reports.bodies["guard"]["total"] == 2002
    assert "id-0002" not in [each["id"] for each in story.reports.alerts("guard")]


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "bank"},
        {"namespace": "shop/../kube-system"},
        {"pod": ""},
        {"pod": "../../secrets"},
        {"id": ""},
        {"id": "a b"},
        {"id": "x" * 65},
        {"severity": 0},
        {"severity": 9},
    ],
)
async def test_what_cannot_be_true_is_passed_over_and_taken(story: Any, changes: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(1, **changes))
    for _ in range(4):
        await story.look(1)
    assert (story.reports.bodies, story.told) == ({}, [])
    assert story.answers == [("node-a", 1)]
    assert "eunomia_operator_refused_alerts_total 1.0" in metrics(story)


async def test_a_node_speaks_for_the_policies_that_it_has_alone(story: Any) -> None:
    story.policy("guard", rules=[RULE], nodeSelector={"pool": "web"})
    await story.look()
    story.alert("node-b", alert(1))
    story.alert("node-a", alert(2, policy_uid="uid-of-none"))
    for _ in range(4):
        await story.look(1)
    assert story.reports.bodies == {}
    assert story.answers == [("node-b", 1), ("node-a", 2)]


async def test_nobody_waits_for_a_policy_that_is_gone(story: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(1))
    for _ in range(4):
        await story.look(1)
    story.reports.away = True
    story.alert("node-a", alert(2))
    await story.look(1)
    story.policy("guard", "DELETED", rules=[RULE])
    await story.look(1)
    assert story.answers[-1] == ("node-a", 2)
    assert "uid-guard" not in metrics(story)
    assert COUNTED not in metrics(story)


async def test_the_report_of_a_policy_that_had_the_name_is_not_taken_over(story: Any) -> None:
    story.reports.bodies["guard"] = {
        "metadata": {"ownerReferences": [{"uid": "another"}]},
        "alerts": [{"id": "old", "time": "2025-01-01T00:00:00Z", "rule": "r", "severity": "event"}],
        "total": 1,
    }
    await begin(story)
    story.alert("node-a", alert(1))
    for _ in range(4):
        await story.look(1)
    assert [each["id"] for each in story.reports.alerts("guard")] == ["id-0001"]
    assert story.reports.bodies["guard"]["metadata"]["ownerReferences"] == [{"uid": "uid-guard"}]


async def test_a_report_that_somebody_edited_is_gone_on_with(story: Any) -> None:
    old = {"id": "old", "time": "2025-01-01T00:00:00Z", "rule": "r", "severity": "event"}
    story.reports.bodies["guard"] = {
        "metadata": {"ownerReferences": [{"uid": "uid-guard"}]},
        "alerts": [old] * 60,
        "total": 0,
    }
    await begin(story)
    told = [alert(number, pod=f"web-{number % 10}") for number in range(1, 121)]
    story.alert("node-a", *told)
    for _ in range(4):
        await story.look(1)
    report = story.reports.bodies["guard"]
    assert [each["id"] for each in report["alerts"]].count("old") == 1
    assert (report["total"], report["dropped"]) == (121, 21)


async def test_a_report_that_somebody_deleted_is_written_anew(story: Any) -> None:
    await begin(story)
    story.alert("node-a", alert(1))
    for _ in range(4):
        await story.look(1)
    del story.reports.bodies["guard"]
    story.alert("node-a", alert(2))
    for _ in range(8):
        await story.look(1)
    assert len(story.reports.alerts("guard")) == 2
    assert story.answers[-1] == ("node-a", 2)


async def test_names_of_rules_that_a_node_invents_make_no_series(story: Any) -> None:
    await begin(story)
    story.alert("node-a", *(alert(number, rule=f"rule-{number}") for number in range(1, 51)))
    story.alert("node-a", alert(60, rule="alert-flood"))
    for _ in range(4):
        await story.look(1)
    text = metrics(story)
    assert 'rule="other"} 50.0' in text
    assert 'rule="alert-flood"} 1.0' in text
    assert "rule-7" not in text


async def test_a_pod_is_cut_off_for_a_rule_that_asks_for_it(story: Any) -> None:
    await begin(story, response="Isolate")
    story.alert("node-a", alert(1), alert(1))
    for _ in range(4):
        await story.look(1)
    assert story.cut.asked == [("guard", "web-1")]
    story.desk.note_response("uid-guard", "id-0001", "Isolated")
    for _ in range(4):
        await story.look(1)
    assert story.reports.alerts("guard")[0]["response"] == "Isolated"


LARGEST_OF_ETCD = 1_500_000


def stored(report: dict[str, Any]) -> int:
    """Bytes of an AlertReport as Go's encoding/json writes it."""
    text = json.dumps(report, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode()) + 5 * sum(text.count(each) for each in "<>&")


async def test_a_report_stays_smaller_than_what_etcd_takes(story: Any) -> None:
    await begin(story)
    story.alert("node-b", alert(1, id="quiet", pod="quiet", pod_uid="q"))
    comm = "<" * 64
    for number in range(1, 121):
        large = alert(
            number,
            message="&" * 600,
            evidence=json.dumps({"args": ">" * 2000}),
            comm=comm,
            container=comm * 4,
            image=comm * 8,
            tags=[comm] * 16,
            ancestors=[agent_pb2.Ancestor(pid=1, comm=comm)] * 6,
        )
        story.alert("node-a", large)
    for _ in range(4):
        await story.look(1)
    body = story.reports.bodies["guard"]
    assert 900_000 < stored(body) < 1_100_000 < LARGEST_OF_ETCD
    assert body["total"] == 121
    assert body["dropped"] == 121 - len(body["alerts"])
    assert "quiet" in [each["id"] for each in body["alerts"]]
    writes = len(story.reports.writes)
    for number in range(200, 230):
        story.alert("node-a", alert(number))
        await story.look(1)
    assert len(story.reports.writes) == writes, "a large one waits longer"
    await story.look(60)
    assert len(story.reports.writes) == writes + 1


def reported(number: int, pod: str, evidence: str = "") -> ReportedAlert:
    told = alert(number, id=f"{pod}-{number}", pod=pod, pod_uid=pod, evidence=evidence)
    read = alerts.read(told, "node-a", "shop", {"shadow"}, 1767225600.0)
    assert read is not None
    return read.reported


def kept(book: AlertBook) -> dict[str, int]:
    return Counter(each.id.partition("-")[0] for each in book.alerts)


def test_what_was_done_about_a_pods_alerts_takes_no_room_from_it() -> None:
    book = AlertBook()
    for number in range(45):
        book.take(reported(number, "cut"), "now")
        book.note_response(f"cut-{number}", "Isolated")
    for number in range(65):
        book.take(reported(number, "loud"), "now")
    assert kept(book) == {"cut": 45, "loud": 55}


def test_of_alerts_that_are_too_large_those_go_that_take_most_room() -> None:
    book, large = AlertBook(), json.dumps({"args": "<" * 2000})
    for number in range(15):
        book.take(reported(number, "many"), "now")
    for number in range(84):
        book.take(reported(number, f"large{number % 7}", large), "now")
    assert book.size <= LARGEST_REPORT
    assert (kept(book)["many"], len(book.alerts) < 99) == (15, True)


@pytest.mark.parametrize("status", [403, 422, 500, 0])
async def test_a_report_that_cannot_be_written_holds_up_no_other_policy(
    story: Any, status: int
) -> None:
    await begin(story)
    story.policy("other", rules=[RULE])
    await story.look(2)
    story.reports.refused["guard"] = status
    story.alert("node-a", alert(1))
    story.alert("node-a", alert(2, policy_uid="uid-other"))
    for _ in range(12):
        await story.look(1)
    assert story.reports.alerts("other")[0]["id"] == "id-0002"
    assert story.answers == ([("node-a", 2)] if status in (403, 422) else [])
    for _ in range(60):
        await story.look(1)
    assert story.answers == [("node-a", 2)]
    told = [(about, news.reason) for about, news in story.told]
    assert ("SecurityPolicy guard", "AlertReportNotWritten") in told
    story.reports.refused.clear()
    for _ in range(40):
        await story.look(1)
    assert story.reports.alerts("guard")[0]["id"] == "id-0001"


async def test_all_reports_together_are_written_at_a_bounded_rate(
    story: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "WRITE_BURST", 4 * desk_module.SMALLEST_WRITE)
    monkeypatch.setattr(desk_module, "WRITE_RATE", 4 * desk_module.SMALLEST_WRITE)
    story.lead()
    story.node("node-a")
    for number in range(20):
        story.policy(f"p-{number}", rules=[RULE])
    await story.look(10)
    for number in range(20):
        story.alert("node-a", alert(number + 1, policy_uid=f"uid-p-{number}"))
    await story.look()
    await story.look(1)
    assert 4 <= len(story.reports.writes) <= 10
    for _ in range(8):
        await story.look(1)
    assert len(set(story.reports.writes)) == 20
    assert story.answers[-1] == ("node-a", 20)


async def test_what_there_is_no_room_for_is_told_again_on_the_next_stream(story: Any) -> None:
    await begin(story)
    story.lead()
    story.node("node-a")
    story.reports.away = True
    await begin(story)
    for start in range(1, 1201, 100):
        story.alert("node-a", *(alert(number) for number in range(start, start + 100)))
    story.reports.away = False
    for _ in range(10):
        await story.look(1)
    assert story.answers[-1] == ("node-a", 1000)
    assert story.reports.bodies["guard"]["total"] == 1000
    # no answer for what comes later on this stream: it would speak for what was refused as well
    story.alert("node-a", alert(1201))
    for _ in range(5):
        await story.look(1)
    assert story.answers[-1] == ("node-a", 1000)
    story.dial("node-a")
    story.alert("node-a", *(alert(number) for number in range(1001, 1151)))
    story.alert("node-a", *(alert(number) for number in range(1151, 1202)))
    for _ in range(10):
        await story.look(1)
    assert story.answers[-1] == ("node-a", 1201)
    assert story.reports.bodies["guard"]["total"] == 1201


async def test_the_next_leader_isolates_what_the_last_one_did_not_get_to(story: Any) -> None:
    await begin(story, response="Isolate")
    story.alert(
        "node-a",
        alert(1, pod="done", pod_uid="a"),
        alert(2, pod="waits", pod_uid="b"),
        alert(3, pod="dry", pod_uid="c", dry_run=True),
        alert(4, pod="of-another-rule", pod_uid="d", rule="alert-flood"),
        alert(5, pod="long-ago", pod_uid="e", time_ns=1),
    )
    for _ in range(4):
        await story.look(1)
    story.desk.note_response("uid-guard", "id-0001", "Isolated")
    for _ in range(4):
        await story.look(1)
    story.cut.asked.clear()

    story.lead()
    story.node("node-a")
    await begin(story, response="Isolate")
    await story.look(1)
    assert story.cut.asked == [("guard", "waits")]
    writes = len(story.reports.writes)
    await story.look(10)
    assert len(story.reports.writes) == writes, "nothing is new"


async def test_pods_that_a_node_invents_leave_room_for_the_events_of_others(story: Any) -> None:
    await begin(story)
    await story.look(1)
    for number in range(1, 1001, 100):
        invented = (
            alert(each, pod=f"pod-{each}", pod_uid=f"u-{each}")
            for each in range(number, number + 100)
        )
        story.alert("node-a", *invented)
    story.alert("node-b", alert(2000, pod="true", pod_uid="t"))
    pods = [about for about, _ in story.told if about.startswith("Pod ")]
    assert len(pods) <= desk_module.NODE_BURST + 2
    assert pods[-1] == "Pod true"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("", ""),
        ('{"path":"/etc/shadow\x7f"}', '{"path":"/etc/shadow\\u007f"}'),
        ('{"path":"' + "x" * 4000 + '"}', '{"cut":true}'),
        ('{"a":' * 600, '{"cut":true}'),
        ('{"a":\n1}', '{"cut":true}'),
        ("[1]", '{"cut":true}'),
    ],
)
def test_evidence_is_json_or_says_that_it_is_cut(told: str, shown: str) -> None:
    read = alerts.read(alert(1, evidence=told), "node-a", "shop", {"shadow"}, 1767225600.0)
    assert read is not None
    assert read.reported.evidence == shown


def test_a_report_has_a_name_however_long_that_of_its_policy() -> None:
    long, longer = (
        report_name(Reference("ClusterSecurityPolicy", "", name, "u"))
        for name in ("x" * 252, "x" * 253)
    )
    assert long != longer
    assert max(len(long), len(longer)) <= 253
    assert report_name(Reference("ClusterSecurityPolicy", "", "all", "u")) == "cluster-all"
    assert report_name(Reference("SecurityPolicy", "shop", "x" * 253, "u")) == "x" * 253


texts = st.text(max_size=5000)


@given(texts, texts, texts, st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))
def test_whatever_words_an_alert_holds_its_report_is_small_and_plain(
    message: str, comm: str, evidence: str, time_ns: int, count: int
) -> None:
    told = alert(
        1,
        message=message,
        comm=comm,
        evidence=evidence,
        time_ns=time_ns,
        count=count,
        container=comm,
        image=message,
        rule=message,
        tags=[message] * 50,
        ancestors=[agent_pb2.Ancestor(pid=2**32 - 1, comm=comm)] * 50,
    )
    read = alerts.read(told, "node-a", "shop", {"shadow"}, 1767225600.0)
    assert read is not None
    text = read.reported.model_dump_json(by_alias=True)
    assert len(text.encode()) < 12_000
    assert read.reported.time <= "2026-01-01T00:01:00Z"
    assert all(each.isprintable() for each in (read.reported.message, read.brief))
    AlertReport.model_validate({"metadata": {}, "alerts": [read.reported]})
