# SPDX-License-Identifier: Apache-2.0
"""What a policy's rules tell of rows that come."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.finding import Finding
from eunomia_agent.jobs.guards import Guards
from eunomia_agent.jobs.job import Job
from eunomia_agent.metrics.security import Security
from eunomia_agent.rules.alert import MAX_ANCESTORS, Case, alert_of, evidence_of
from eunomia_agent.rules.limit import BURST, MAX_BUCKETS, Limit
from eunomia_agent.rules.recorded import Event
from eunomia_agent.rules.replay import Kept, replay
from eunomia_agent.rules.window import LONGEST_KEY, key_of
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.wanted import target_of
from eunomia_api import agent_pb2
from eunomia_api.alertreport import MAX_EVIDENCE
from eunomia_api.enforcement import DENY, KILL
from eunomia_api.findings import FLOOD

Make = Callable[..., Any]
ALERT, WARNING = agent_pb2.SEVERITY_ALERT, agent_pb2.SEVERITY_WARNING


def test_an_alert_tells_who_did_what_where(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(
        rule(
            name="release-agent-written",
            policy_rule="container-escape/release-agent-written",
            severity=ALERT,
            when='writing && path.endsWith("/release_agent")',
            tags=["T1611"],
        )
    )
    rows = [
        {"at": 1, "path": b"/etc/hosts", "writing": 1},
        {
            "at": 2.5,
            "pid": 77,
            "uid": 1000,
            "comm": b"evil\n",
            "path": b"/sys/fs/cgroup/rdma/release_agent",
            "writing": 1,
            "ancestor_pids": [70, 60, 0, 0],
        },
        {"at": 3, "path": b"/sys/fs/cgroup/rdma/release_agent"},
    ]
    assert seen.guard.write(rows_of(rows)) == 3
    (alert,) = seen.alerts
    evidence = json.loads(alert.evidence)
    assert evidence["time"] == "2025-06-15T15:06:42.500000000Z"
    assert evidence["path"] == "/sys/fs/cgroup/rdma/release_agent"
    assert len(alert.id) == 16
    assert int(alert.id, 16)
    alert.ClearField("id")
    alert.ClearField("evidence")
    assert alert == agent_pb2.Alert(
        policy_uid="p-1",
        rule="container-escape/release-agent-written",
        severity=ALERT,
        time_ns=1_750_000_002_500_000_000,
        message="evil\\n (77) wrote /sys/fs/cgroup/rdma/release_agent",
        tracker="access",
        namespace="shop",
        pod="web-0",
        pod_uid="uid-7",
        container="nginx",
        container_id="1b" * 32,
        image="nginx:1",
        pid=77,
        uid=1000,
        comm="evil\n",
        ancestors=[agent_pb2.Ancestor(pid=70), agent_pb2.Ancestor(pid=60)],
        count=1,
        tags=["T1611"],
    )
    assert seen.guard.report() == agent_pb2.PolicyReport(alerts=1)
    assert seen.counted == [("container-escape/release-agent-written", ALERT, "web-0")]


def test_an_exception_is_passed_over(watch: Make, rule: Make, rows_of: Make) -> None:
    runc = agent_pb2.RuleException(name="runc", when='comm == "runc"')
    small = agent_pb2.RuleException(name="small", when="100 / size > 10")
    seen = watch(rule(exceptions=[runc, small], message="{comm} {size}"))
    rows = [
        {"at": 1, "comm": b"runc", "writing": 1, "size": 50},
        {"at": 2, "comm": b"sh", "writing": 1, "size": 5},
        {"at": 3, "comm": b"sh", "writing": 1, "size": 50},
        {"at": 4, "comm": b"sh", "writing": 1, "size": 0},
    ]
    seen.guard.write(rows_of(rows))
    # what is divided by zero is no answer, and an exception without an answer excepts nothing
    assert seen.messages == ["sh 50", "sh 0"]


def test_rules_and_exceptions_ask_for_the_labels_of_the_pod(
    watch: Make, rule: Make, rows_of: Make, web: Owner
) -> None:
    batch_job = agent_pb2.RuleException(name="batch", when='labels["tier"] == "batch"')
    seen = watch(
        rule(
            when='pod_uid != "" && writing && "app" in labels && labels["app"] != "backup"',
            exceptions=[batch_job],
            group_by=["pod_uid"],
            message="{path} of {pod_uid}",
        )
    )
    others: list[dict[str, str]] = [
        {"app": "web"},
        {"app": "web", "tier": "batch"},
        {"app": "web", "tier": "front"},
        {"app": "backup"},
        {},
    ]
    for number, labels in enumerate(others):
        row = {"at": number, "path": b"/%d" % number, "writing": 1}
        owner = replace(web, pod_uid=f"u{number}", labels=labels)
        seen.guard.write(rows_of([row], owner=owner))
    # a pod that has no such label is not excepted for it
    assert seen.messages == ["/0 of u0", "/2 of u2"]


def test_rows_that_were_recorded_tell_no_labels_and_break_no_rule_about_them(
    watch: Make, rule: Make, rows_of: Make, recorded: Make, trackers: dict[str, Tracker], web: Owner
) -> None:
    rows = rows_of([{"at": 1, "writing": 1}], owner=replace(web, labels={"app": "web"}))
    excepted = agent_pb2.RuleException(name="e", when='labels.app == "web"')
    rules = [
        rule(name="is", when='labels.app == "web"'),
        rule(name="has", when='"app" in labels'),
        rule(name="lacks", when='!("app" in labels)'),
        rule(name="any", when="writing", exceptions=[excepted]),
    ]
    live = watch(*rules)
    live.guard.write(rows)
    assert [alert.rule for alert in live.alerts] == ["is", "has"]

    alerts, _ = replay(rules, recorded(rows), trackers)
    assert [alert.rule for alert in alerts] == ["any"]

    told = [
        Event.parse(json.dumps({**each.row, "labels": {"app": "web"}}).encode())
        for each in recorded(rows)
    ]
    alerts, _ = replay(rules, told, trackers)
    assert [alert.rule for alert in alerts] == ["is", "has"]


def test_a_wrong_rule_names_the_place_and_the_others_go_on(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    other = agent_pb2.RuleException(name="e", when="comm = 1")
    seen = watch(
        rule(name="a", when="pth == 1"),
        rule(name="b", trackers=["acess"]),
        rule(name="c", message="{comm} {pat}"),
        rule(name="d", exceptions=[other]),
        rule(name="e", group_by=["contaner_id"]),
        rule(name="f", count=3),
        rule(name="g", trackers=["access", "execution"], distinct="tme", count=2, within_ms=1),
        rule(name="h", severity=0),
        rule(name="i", message="{comm"),
        rule(name="j", count=10_001, within_ms=1),
        rule(name="k", count=1001, within_ms=1, distinct="pid"),
        rule(name="l", distinct="pid"),
        rule(name="m", count=2, within_ms=1, for_ms=1),
        rule(name="n", group_by=["time"]),
        rule(name="p", exceptions=[agent_pb2.RuleException(name="e", when="labels[1] == 2")]),
        rule(name="q", group_by=["labels"]),
        rule(name="o", trackers=[]),
        rule(name="good", message="{comm} ({pid}) wrote {path} in {pod}"),
    )
    seen.guard.write(rows_of([{"at": 1, "path": b"/x", "writing": 1}]))
    assert seen.messages == ["sh (42) wrote /x in web-0"]
    problems = {each.rule: each.message for each in seen.guard.report().problems}
    starts = {
        "a": 'when: access: at character 1: no column "pth"; did you mean path?',
        "b": "events: there is no tracker 'acess' in this agent; it has access, execution",
        "c": "message: access: no column 'pat'; did you mean path?",
        "d": "exceptions[0].when: access: at character 6: ",
        "e": "groupBy: access: no column 'contaner_id'; did you mean container_id?",
        "f": "count: needs within, a time that is above 0",
        "g": "distinct: access: no column 'tme'; there are pid, uid, comm, ",
        "h": "severity: must be event, warning or alert",
        "i": "message: at character 1: { stands alone; write {{",
        "j": "count: must be at most 10000, not 10001",
        "k": "count: must be at most 1000, not 1001",
        "l": "distinct: needs a count of 2 or more",
        "m": "for: excludes count; make two rules",
        "n": "groupBy: access: no column 'time'; ",
        "o": "events: names no tracker",
        "p": "exceptions[0].when: access: at character 8: a label is named by a text, as in ",
        "q": "groupBy: access: no column 'labels'; ",
    }
    assert problems.keys() == starts.keys()
    for name, start in starts.items():
        assert problems[name].startswith(start), problems[name]


def test_is_silent_for_a_while_after_an_alert_of_the_same_group(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    seen = watch(rule(deduplicate_ms=60_000, group_by=["container_id", "comm"]))
    times = [("sh", 0), ("sh", 59), ("cat", 59.5), ("sh", 60), ("sh", 119), ("cat", 120)]
    for comm, at in times:
        seen.guard.write(rows_of([{"at": at, "comm": comm.encode(), "writing": 1}]))
    told = [(alert.comm, alert.time_ns // 10**9 - 1_750_000_000) for alert in seen.alerts]
    assert told == [("sh", 0), ("cat", 59), ("sh", 60), ("cat", 120)]
    report = seen.guard.report()
    assert (report.warnings, report.deduplicated) == (4, 2)


def test_count_within(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(rule(count=3, within_ms=10_000, message="{path}"))
    times = [0, 9, 11, 19, 30, 31, 32, 33]
    for number, at in enumerate(times):
        row = {"at": at, "writing": 1, "path": b"/%d" % number}
        seen.guard.write(rows_of([row]))
    # 9, 11 and 19 are within 10 s, and so are 30, 31 and 32; rows are used up by an alert
    assert seen.messages == ["/3", "/6"]
    assert [alert.count for alert in seen.alerts] == [3, 3]


def test_different_values_within(watch: Make, rule: Make, rows_of: Make) -> None:
    scan = rule(distinct="size", count=3, within_ms=10_000, group_by=["comm"], message="{size}")
    seen = watch(scan)
    seen.guard.write(
        rows_of(
            [
                {"at": at, "size": size, "comm": comm, "writing": 1}
                for at, size, comm in [
                    *((0, 1, b"a"), (1, 1, b"a"), (2, 2, b"a"), (3, 9, b"b")),
                    *((9, 1, b"a"), (11.9, 3, b"a"), (12, 7, b"b"), (30, 8, b"b")),
                    *((40, 1, b"c"), (41, 2, b"c"), (49, 1, b"c"), (51.9, 3, b"c"), (59, 4, b"c")),
                ]
            ]
        )
    )
    # of c's, 2 is too old at 51.9, though 1 came again; 1, 3 and 4 are within 10 s
    assert seen.messages == ["3", "4"]


def test_going_on_for_so_long(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(rule(for_ms=30_000, message="{size}"))
    begins = [*range(0, 29, 4), 40, 50, 60, 69, 70, 71]
    seen.guard.write(rows_of([{"at": at, "size": at, "writing": 1} for at in begins]))
    # 0 to 28 is too short, 40 comes 12 s after that, and 70 is 30 s after 40, with no longer pause
    assert (seen.messages, [alert.count for alert in seen.alerts]) == (["70"], [5])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")),
        (("x" * 64 + "a",), ("x" * 64 + "b",)),
        (("\ud800" * 65,), ("\ud800" * 66,)),
    ],
)
def test_groups_are_as_different_as_their_values(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assert key_of(one) != key_of(other)
    assert max(len(key_of(one)), len(key_of(other))) <= LONGEST_KEY


def test_alerts_have_ids_that_tell_them_apart_and_stay_when_rows_are_judged_again(
    watch: Make, rule: Make, rows_of: Make, web: Owner
) -> None:
    """The operator takes in each id once: two alerts of one id would be one."""
    first = {"at": 1, "writing": 1, "comm": b"a"}
    rows = [
        (first, web, {}),
        (first, web, {"uid": "p-2"}),
        (first, web, {"name": "other"}),
        (first, replace(web, container_id="2c" * 32), {}),
        ({**first, "at": 2}, web, {}),
        ({**first, "pid": 43}, web, {}),
        ({**first, "comm": b"b"}, web, {}),
    ]

    def ids() -> list[str]:
        found = list[str]()
        for row, owner, changes in rows:
            job = {name: changes[name] for name in changes if name == "uid"}
            own = {name: changes[name] for name in changes if name != "uid"}
            seen = watch(rule(group_by=["comm"], **own), **job)
            seen.guard.write(rows_of([row], owner))
            found += [alert.id for alert in seen.alerts]
        return found

    assert len(set(ids())) == len(rows)
    assert ids() == ids()


def test_rows_of_several_trackers_count_together(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(rule(trackers=["access", "execution"], count=2, within_ms=1000))
    seen.guard.write(rows_of([{"at": 1, "writing": 1}]))
    seen.guard.write(rows_of([{"at": 0.9, "writing": 1}], tracker="execution"))
    assert [alert.tracker for alert in seen.alerts] == ["execution"]
    # what is read late is told all the same
    seen.guard.write(rows_of([{"at": at, "writing": 1} for at in (0.8, 0.85)]))
    assert [alert.tracker for alert in seen.alerts] == ["execution", "access"]


def test_a_flood_of_one_container_is_told_and_hides_no_other(
    watch: Make, rule: Make, rows_of: Make, web: Owner
) -> None:
    grave = rule(name="grave", severity=ALERT, when='path == "/grave"')
    seen = watch(rule(), grave)
    flood = [{"at": 1 + number / 1000, "path": b"/x", "writing": 1} for number in range(1000)]
    seen.guard.write(rows_of([*flood, {"at": 2, "path": b"/grave"}]))
    other = replace(web, container_id="2c" * 32, pod="db-0")
    seen.guard.write(rows_of([{"at": 2, "path": b"/y", "writing": 1}], other))
    told = [(alert.rule, alert.pod) for alert in seen.alerts]
    # 50 at once and 5 more in that second
    assert told.count(("written", "web-0")) == 54
    assert told.count((FLOOD, "web-0")) == 1
    assert told[-2:] == [("grave", "web-0"), ("written", "db-0")]
    (flooded,) = [alert for alert in seen.alerts if alert.rule == FLOOD]
    assert flooded.message.startswith("alerts of this container come faster than 5 a second")
    report = seen.guard.report()
    assert (report.warnings, report.alerts, report.dropped) == (1002, 1, 946)
    assert report.warnings + report.alerts == len(seen.alerts) + report.dropped
    seen.guard.write(rows_of([{"at": 70, "writing": 1} for _ in range(60)]))
    (_, again) = [alert for alert in seen.alerts if alert.rule == FLOOD]
    assert again.count == 946  # 945 of before and the first of now


def refused(web: Owner, number: int, at: float = 1.0, **fields: Any) -> Finding:
    """A call that was refused."""
    row = {"call": f"call-{number}", "comm": "sh\n", "pid": 42, "uid": 33, "ancestor_pids": [1]}
    message = "{comm} ({pid}) called {call}"
    at_ns = round(at * 1e9)
    return Finding("call-refused", f"{number}", web, at_ns, message, row, 3, **fields)


def test_what_was_found_out_without_a_rule_is_an_alert_like_any_other(
    watch: Make, web: Owner
) -> None:
    seen = watch()
    seen.guard.find(refused(web, 1, response="Refused"))
    (alert,) = seen.alerts
    told = (alert.rule, alert.severity, alert.message, alert.response, alert.dry_run, alert.count)
    assert told == ("call-refused", WARNING, "sh\\n (42) called call-1", "Refused", False, 3)
    assert (alert.policy_uid, alert.pod, alert.image, alert.pid) == ("p-1", "web-0", "nginx:1", 42)
    assert json.loads(alert.evidence)["call"] == "call-1"
    assert [each.pid for each in alert.ancestors] == [1]
    assert seen.counted == [("call-refused", WARNING, "web-0")]
    assert seen.guard.report() == agent_pb2.PolicyReport(warnings=1)
    # found again by an agent that had no time to note it: the same alert
    again = watch()
    again.guard.find(refused(web, 1, at=77, dry_run=True))
    assert (again.alerts[0].id, again.alerts[0].dry_run) == (alert.id, True)


def test_a_container_that_tries_every_call_hides_no_other(
    watch: Make, rule: Make, rows_of: Make, web: Owner
) -> None:
    seen = watch(rule())
    for number in range(400):
        seen.guard.find(refused(web, number, response="Refused"))
    other = replace(web, container_id="2c" * 32, pod="db-0")
    seen.guard.find(refused(other, 1))
    seen.guard.write(rows_of([{"at": 1, "writing": 1}]))
    told = [(alert.rule, alert.pod) for alert in seen.alerts]
    assert told.count(("call-refused", "web-0")) == 50
    assert told[-2:] == [("call-refused", "db-0"), ("written", "web-0")]
    (flood,) = [alert for alert in seen.alerts if alert.rule == FLOOD]
    assert (flood.response, flood.severity) == ("", WARNING)
    assert seen.guard.report() == agent_pb2.PolicyReport(warnings=403, dropped=350)


def test_a_flood_of_one_rule_hides_no_other_rule_and_none_that_is_graver(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    grave = rule(name="grave", severity=ALERT, when='path == "/grave"')
    rare = rule(name="rare", when='path == "/rare"')
    seen = watch(rule(), grave, rare)
    for start in (1, 31, 61):
        seen.guard.write(
            rows_of(
                [
                    *({"at": start + n / 1000, "path": b"/x", "writing": 1} for n in range(500)),
                    *({"at": start + 0.5, "path": path} for path in [b"/grave"] * 9 + [b"/rare"]),
                ]
            )
        )
    told = [(alert.rule, alert.time_ns // 10**9 - 1_750_000_000) for alert in seen.alerts]
    # of a rule that keeps within the rate all is told, of one behind a flood once a minute
    assert [at for name, at in told if name == "grave"] == [1] * 9 + [31] * 9 + [61] * 9
    assert [at for name, at in told if name == "rare"] == [1, 61]


def case_of(at: float, owner: Owner) -> Case:
    written = agent_pb2.Rule(name="written", severity=WARNING)
    time = round(at * 10**9)
    return Case(written, "written", "p-1", owner, "access", "", at=time, time_ns=time, rows=1)


def test_times_that_go_back_and_forth_change_nothing_of_the_rate(web: Owner) -> None:
    limit = Limit()
    told = [limit.admits(case_of(2 - number % 2, web)) for number in range(100)]
    assert told == [True] * BURST + [False] * (100 - BURST)


def test_no_number_of_containers_gives_a_loud_one_new_room(web: Owner) -> None:
    limit = Limit()
    for _ in range(BURST):
        assert limit.admits(case_of(1, web))
    for number in range(2 * MAX_BUCKETS):
        assert limit.admits(case_of(1, replace(web, container_id=f"{number:064x}")))
        if number % 1000 == 0:
            assert not limit.admits(case_of(1, web))
    assert len(limit._buckets) == MAX_BUCKETS


def test_the_host_and_what_nobody_knows_leave_room_to_each_other() -> None:
    limit = Limit()
    host, unknown = Owner(1, "host"), Owner(2, "unknown")
    told = [limit.admits(case_of(1, owner)) for owner in (host, unknown) for _ in range(BURST)]
    assert all(told)


def test_what_had_found_room_and_lost_it_again_is_counted(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    seen = watch(rule())
    seen.guard.write(rows_of([{"at": 1, "writing": 1}]))
    seen.guard.drop()
    assert seen.guard.report() == agent_pb2.PolicyReport(warnings=1, dropped=1)


def test_what_finds_no_room_is_counted(
    trackers: Any, rule: Make, rows_of: Make, watch: Make
) -> None:
    seen = watch(rule())

    class Full:
        def put(self, alert: agent_pb2.Alert) -> bool:
            return False

    kept, seen.guard._outlet = seen.guard._outlet, Full()
    seen.guard.write(rows_of([{"at": 1, "writing": 1}]))
    assert seen.guard.report() == agent_pb2.PolicyReport(warnings=1, dropped=1)
    assert seen.guard.problem == "alerts find no room: they are counted and not told"
    seen.guard._outlet = kept
    seen.guard.write(rows_of([{"at": 2, "writing": 1}]))
    assert (seen.guard.problem, len(seen.alerts)) == (None, 1)


def test_no_number_of_groups_takes_more_memory(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(rule(group_by=["path"], count=2, within_ms=600_000))

    def opened(number: int, at: float) -> dict[str, Any]:
        return {"at": at, "path": b"/%d" % number, "writing": 1}

    for first in range(0, 6000, 1000):
        seen.guard.write(rows_of([opened(first + n, 1) for n in range(1000)]))
    assert "written has more groups than are remembered" in (seen.guard.problem or "")
    # 6,000 groups were seen: the first of them are forgotten, and the last 4,096 are not
    seen.guard.write(rows_of([opened(0, 2), opened(5999, 2), opened(1905, 2), opened(0, 90)]))
    assert [alert.message[-5:] for alert in seen.alerts] == ["/5999", "/1905", "te /0"]
    seen.guard.write(rows_of([opened(5999, 200)]))
    assert seen.guard.problem is None
    (watched,) = seen.guard._watches
    assert len(watched.windows._groups) == 4096


def test_no_number_of_rows_takes_more_memory_and_a_group_that_goes_on_stays(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    seen = watch(rule(group_by=["path"], count=10_000, within_ms=600_000, message="{path}"))
    for path, many in [(b"/a", 9000), (b"/b", 7000), (b"/a", 999), (b"/b", 3000), (b"/a", 1)]:
        seen.guard.write(rows_of([{"at": 1, "path": path, "writing": 1}] * many))
    # the rows of both are more than are remembered, and /b had waited longest
    assert seen.messages == ["/a"]


def test_goes_on_from_earlier_counts(watch: Make, rule: Make, rows_of: Make) -> None:
    before = agent_pb2.PolicyReport(
        events=1, warnings=2, alerts=3, deduplicated=4, dropped=5, killed=6, denied=7
    )
    seen = watch(rule())
    seen.guard.restore(before)
    seen.guard.write(rows_of([{"at": 1, "writing": 1}]))
    before.warnings = 3
    assert seen.guard.report() == before


def test_what_the_kernel_kills_is_told_as_killed(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(
        rule(deduplicate_ms=60_000), uid="p-1/kill/written", enforcement=agent_pb2.ENFORCEMENT_KILL
    )
    seen.guard.write(rows_of([{"at": at, "writing": 1, "subject_flags": 2} for at in range(3)]))
    seen.guard.enforcing = False
    seen.guard.write(rows_of([{"at": 99, "writing": 1, "subject_flags": 2}]))
    told = [(each.policy_uid, each.response, each.dry_run) for each in seen.alerts]
    assert told == [("p-1", "Killed", False), ("p-1", "", False)]
    dry = watch(
        rule(), uid="p-1/kill/written", enforcement=agent_pb2.ENFORCEMENT_KILL, dry_run=True
    )
    dry.guard.write(rows_of([{"at": 1, "writing": 1, "subject_flags": 2}]))
    assert [(each.response, each.dry_run) for each in dry.alerts] == [("", True)]


def test_who_lives_on_is_not_told_as_killed(watch: Make, rule: Make, rows_of: Make) -> None:
    """Its cgroup was not yet known as the job's when it broke the rule: only the kernel kills."""
    seen = watch(
        rule(deduplicate_ms=0), uid="p-1/kill/written", enforcement=agent_pb2.ENFORCEMENT_KILL
    )
    pending = {"writing": 1, "subject_flags": 1}
    seen.guard.write(rows_of([{"at": 1, **pending}, {"at": 2, "writing": 1, "subject_flags": 2}]))
    assert [each.response for each in seen.alerts] == ["", "Killed"]


def test_a_rule_that_another_job_kills_for_is_told_by_that_job(
    watch: Make, rule: Make, rows_of: Make, web: Owner
) -> None:
    seen = watch(
        rule(),
        rule(name="other"),
        elsewhere=lambda name, owner: KILL if (name, owner) == ("written", web) else None,
    )
    seen.guard.write(rows_of([{"at": 1, "writing": 1}]))
    seen.guard.write(rows_of([{"at": 1, "writing": 1}], replace(web, pod="db-0")))
    told = [(alert.rule, alert.pod) for alert in seen.alerts]
    assert told == [("other", "web-0"), ("written", "db-0"), ("other", "db-0")]


@pytest.mark.parametrize("succeeds", ['error == ""', "result >= 0"])
def test_what_the_kernel_refuses_is_told_as_denied_by_a_rule_about_what_succeeds(
    watch: Make, rule: Make, rows_of: Make, succeeds: str
) -> None:
    opened = rule(when=f'kind == "open" && {succeeds}', deduplicate_ms=0)
    seen = watch(opened, uid="p-1/deny/written", enforcement=agent_pb2.ENFORCEMENT_DENY)
    refused = {"error": errno.EPERM, "result": -errno.EPERM, "subject_flags": 4}
    seen.guard.write(rows_of([{"at": 1, **refused}, {"at": 2, "kind": 1, **refused}]))
    (alert,) = seen.alerts
    assert (alert.policy_uid, alert.response) == ("p-1", "Denied")
    assert json.loads(alert.evidence)["error"] == "EPERM"


def test_what_was_not_refused_is_left_to_the_job_that_observes(
    watch: Make, rule: Make, rows_of: Make
) -> None:
    """The container was not known yet, or the operator silent for too long."""
    rows = rows_of([{"at": 1, "writing": 1, "subject_flags": 1}, {"at": 2, "writing": 1}])
    denies = watch(rule(), uid="p-1/deny/written", enforcement=agent_pb2.ENFORCEMENT_DENY)
    denies.guard.write(rows)
    assert denies.alerts == []
    observes = watch(rule(deduplicate_ms=0), elsewhere=lambda *_: DENY)
    observes.guard.write(rows)
    assert [each.response for each in observes.alerts] == ["", ""]


@pytest.mark.parametrize(
    ("when", "row", "told"),
    [
        ("writing", {"error": errno.EPERM, "subject_flags": 8}, False),
        ('writing && error == ""', {"error": errno.EPERM, "subject_flags": 8}, False),
        ("writing", {"error": errno.EPERM}, True),  # by something else, such as a capability
        ('writing && error != ""', {"error": errno.EPERM, "subject_flags": 8}, True),
        ('writing && error == ""', {}, True),
    ],
)
def test_who_observes_tells_of_all_that_the_job_that_denies_has_not_refused(
    watch: Make, rule: Make, rows_of: Make, when: str, row: dict[str, Any], told: bool
) -> None:
    seen = watch(rule(when=when), elsewhere=lambda *_: DENY)
    seen.guard.write(rows_of([{"at": 1, "writing": 1, **row}]))
    assert bool(seen.alerts) is told


def test_what_the_kernel_refuses_by_itself_is_told_once_the_operator_was_silent_for_too_long(
    trackers: dict[str, Tracker], rule: Make, rows_of: Make
) -> None:
    kept = Kept()
    guards = Guards(trackers, kept, Security("n1"))
    target = agent_pb2.Target(pods=True, namespaces=["shop"])
    wanted = [
        agent_pb2.Job(uid=uid, target=target, rules=[rule(deduplicate_ms=0)], enforcement=how)
        for uid, how in (("p", 0), ("p/deny/written", agent_pb2.ENFORCEMENT_DENY))
    ]
    jobs = [Job(each, target_of(target), {}, running=True) for each in wanted]
    guards.jobs = {each.wanted.uid: each for each in jobs}
    observes, denies = (guards.guard(each) for each in wanted)
    for job, guard in zip(jobs, (observes, denies), strict=True):
        job.open([guard])
    refused = rows_of([{"at": 1, "writing": 1, "error": errno.EPERM, "subject_flags": 8}])

    observes.write(refused)
    assert kept.alerts == []
    denies.enforcing = False
    observes.write(refused)
    denies.write(refused)
    assert [each.response for each in kept.alerts] == [""]


def test_a_long_row_is_cut_and_says_so(watch: Make, rule: Make, rows_of: Make) -> None:
    seen = watch(rule())
    row = {"at": 1, "writing": 1, "path": b"/" + b"p" * 4000, "args": b"\xe2\x98\x83\0" * 900}
    seen.guard.write(rows_of([row]))
    (alert,) = seen.alerts
    evidence = json.loads(alert.evidence)
    assert len(alert.evidence) <= MAX_EVIDENCE
    assert evidence["cut"] is True
    assert evidence["path"].startswith("/ppp")
    assert evidence["args"][:2] == ["☃", "☃"]
    assert len(alert.message) <= 1024


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"path": "p" * 2040}, {"path": "p" * 1024 + "…"}),
        ({"path": "p" * 9000, "fd": 3}, {"path": "p" * 1024 + "…", "fd": 3}),
        ({"args": ["a" * 9000, "b"] * 3}, {"args": ["a" * 256 + "…", "b"] * 3}),
        ({"fd": 3, **{f"column_{n}": "x" * 90 for n in range(90)}}, {"fd": 3}),
    ],
)
def test_whatever_a_row_holds_its_evidence_is_whole_json_of_bounded_size(
    row: dict[str, Any], kept: dict[str, Any]
) -> None:
    text = evidence_of(row)
    assert len(text) <= MAX_EVIDENCE
    evidence = json.loads(text)
    assert evidence.pop("cut") is True
    assert evidence.items() >= kept.items()


def test_what_a_file_of_rows_says_of_processes_need_not_be_true(web: Owner) -> None:
    row = {"pid": 1 << 40, "uid": -1, "ancestor_pids": [7, 8, 0, 9], "ancestors": "sh<init"}
    alert = alert_of(case_of(1, web), row, "m")
    assert (alert.pid, alert.uid) == (0, 0)
    assert [(each.pid, each.comm) for each in alert.ancestors] == [(7, "sh"), (8, "init")]
    many = alert_of(case_of(1, web), {"ancestor_pids": [7] * 10_000}, "m")
    assert len(many.ancestors) == MAX_ANCESTORS


@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_replay_tells_what_was_told_live(
    watch: Make, rule: Make, rows_of: Make, recorded: Make, trackers: Any, size: int
) -> None:
    rules = [
        rule(name="plain", message="{comm} {path} {took} {args} {kind}"),
        rule(
            name="texts",
            when='path.endsWith("7") && kind == "delete" && args.exists(a, a == "-x")',
            deduplicate_ms=7000,
            group_by=["comm", "kind"],
        ),
        rule(name="many", when="size > 5 || pid % 2 == 0", count=9, within_ms=4000),
        rule(name="scan", when="true", distinct="path", count=20, within_ms=30_000),
        rule(name="long", when="true", for_ms=15_000, deduplicate_ms=30_000),
        rule(name="parents", when="60 in ancestor_pids && took > duration('1ms')"),
    ]
    rows = [
        {
            "at": 100 + number / 5,
            "pid": number,
            "comm": b"c%d" % (number % 3),
            "path": b"/\xff\n%d" % (number * 7 % 40),
            "args": b"cmd\0-x\0" if number % 2 else b"",
            "kind": number % 3,
            "writing": number % 5 == 0,
            "size": number % 11,
            "took": number * 100_000,
            "ancestor_pids": [number % 70, 60, 1, 0] if number % 4 == 0 else [0] * 4,
        }
        for number in range(300)
    ]
    seen = watch(*rules)
    for first in range(0, len(rows), size):
        seen.guard.write(rows_of(rows[first : first + size]))
    alerts, report = replay(rules, recorded(rows_of(rows)), trackers, policy="p-1")
    assert report == seen.guard.report()
    assert {alert.rule for alert in alerts} == {each.name for each in rules}
    # a recorded row knows neither the pod's uid, nor the image, nor the whole of the id
    for alert in seen.alerts:
        alert.pod_uid = alert.image = ""
        alert.container_id = alert.container_id[:12]
    by_time = sorted(seen.alerts, key=lambda alert: (alert.time_ns, alert.rule))
    assert sorted(alerts, key=lambda alert: (alert.time_ns, alert.rule)) == by_time
    assert len({alert.id for alert in alerts}) == len(alerts)


def test_a_file_of_rows_of_many_is_told_of_each_in_the_order_of_time(
    rule: Make, rows_of: Make, recorded: Make, trackers: Any, web: Owner
) -> None:
    db = replace(web, pod="db-0", container_id="2c" * 32)

    def event(at: float, owner: Owner, **changes: Any) -> Event:
        (found,) = recorded(rows_of([{"at": at, "writing": 1}], owner))
        return Event.parse(json.dumps({**found.row, **changes}).encode())

    rules = [
        rule(trackers=["access", "execution"], message="{pod} on {node}"),
        rule(name="elsewhere", when='node == "n2"'),
        rule(name="both", trackers=["access", "execution"], count=2, within_ms=1000),
    ]
    events = [
        event(1.00, web),
        event(1.01, db),
        event(1.02, web, tracker="of-a-newer-agent"),
        event(1.03, db, node="n2"),
        event(1.04, web),
        event(1.5, web, tracker="execution"),
        event(10, web),
        event(10.5, web, tracker="execution"),
    ]
    alerts, _ = replay(rules, events, trackers)
    told = [(alert.rule, alert.message) for alert in alerts if alert.rule == "written"]
    assert told == [
        ("written", f"{pod} on {node}")
        for pod, node in [("web-0", "n1"), ("db-0", "n1"), ("db-0", "n2"), *[("web-0", "n1")] * 4]
    ]
    others = [(alert.rule, alert.pod) for alert in alerts if alert.rule != "written"]
    assert sorted(others) == [
        *[("both", "db-0"), ("both", "web-0"), ("both", "web-0"), ("elsewhere", "db-0")]
    ]
    assert [alert.time_ns for alert in alerts] == sorted(alert.time_ns for alert in alerts)


def test_a_rule_that_fails_in_an_unforeseen_way_stops_no_other(
    watch: Make, rule: Make, rows_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(rule(name="bad", message="{path}"), rule(name="good"))
    watched = seen.guard._watches[0].windows

    def fail(*_: object) -> None:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(watched, "take", fail)
    assert seen.guard.write(rows_of([{"at": 1, "writing": 1}] * 2)) == 2
    assert [alert.rule for alert in seen.alerts] == ["good", "good"]
    (problem,) = seen.guard.report().problems
    assert problem.rule == "bad"
    assert "what nobody thought of" in problem.message
