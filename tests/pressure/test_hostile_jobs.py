# SPDX-License-Identifier: Apache-2.0
"""Jobs that no operator would send: each is in trouble alone, says so, and soon."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.jobs.guards import Guards
from eunomia_agent.link.spool import Spool
from eunomia_agent.metrics.security import Security
from eunomia_agent.node import Sinks
from eunomia_agent.sinks.log import LineWriter
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
A = Callable[..., Any]
FAILED = agent_pb2.JOB_STATE_FAILED
UNSUPPORTED = agent_pb2.JOB_STATE_UNSUPPORTED
MANY = 10**6


def opens(**fields: Any) -> agent_pb2.Tracker:
    return agent_pb2.Tracker(name="opensnoop", **fields)


def where(text: str) -> dict[str, Any]:
    return {"trackers": [opens(where=text)]}


def param(name: str, **value: Any) -> dict[str, Any]:
    return {"trackers": [opens(params={name: agent_pb2.Param(**value)})]}


def names(count: int) -> list[str]:
    return [f"{number:0100d}" for number in range(count)]


REFUSED = {
    "no trackers": ({"trackers": []}, FAILED, "InvalidJob"),
    "the same twice": ({"trackers": [opens(), opens()]}, FAILED, "InvalidJob"),
    "ten thousand trackers": (
        {"trackers": [agent_pb2.Tracker(name=name) for name in names(10_000)]},
        UNSUPPORTED,
        "UnknownTracker",
    ),
    "a name of a path": (
        {"trackers": [agent_pb2.Tracker(name="../../../etc/passwd")]},
        UNSUPPORTED,
        "UnknownTracker",
    ),
    "a name of 50 MB": (
        {"trackers": [agent_pb2.Tracker(name="x" * 50_000_000)]},
        UNSUPPORTED,
        "UnknownTracker",
    ),
    "a name for a terminal": (
        {"trackers": [agent_pb2.Tracker(name="\x1b[2J\n\u202e")]},
        UNSUPPORTED,
        "UnknownTracker",
    ),
    "no such param": (param("\x1b[2J\n", text="x"), FAILED, "InvalidParam"),
    "a param of another type": (param("prefix", boolean=True), FAILED, "InvalidParam"),
    "a number where there is none": (param("flags", integer=2**63 - 1), FAILED, "InvalidParam"),
    "a bool that is a number": (param("failedOnly", integer=1), FAILED, "InvalidParam"),
    "a text of 50 MB": (param("prefix", text="x" * 50_000_000), FAILED, "InvalidParam"),
    "a text with a NUL": (param("prefix", text="/none\0/x"), FAILED, "InvalidParam"),
    "a hundred thousand params": (
        {"trackers": [opens(params={n: agent_pb2.Param(text="x") for n in names(100_000)})]},
        FAILED,
        "InvalidParam",
    ),
    "where: no CEL": (where("path ==== 1 \x1b[2J"), FAILED, "InvalidWhere"),
    "where: brackets": (where("(" * 100_000), FAILED, "InvalidWhere"),
    "where: a chain": (where("!" * 100_000 + "true"), FAILED, "InvalidWhere"),
    "where: 50 MB": (where("a" * 50_000_000), FAILED, "InvalidWhere"),
    "where: a long sum": (where("+".join(["pid"] * 100_000) + " > 1"), FAILED, "InvalidWhere"),
    "where: no pattern": (where('path.matches("(")'), FAILED, "InvalidWhere"),
    "where: a vast pattern": (
        where('path.matches("((a{1000}){1000}){1000}")'),
        FAILED,
        "InvalidWhere",
    ),
    "where: a vast number": (where("pid == 99999999999999999999999"), FAILED, "InvalidWhere"),
    "no such output": ({"outputs": ["\x1b[2J" * 10**6]}, UNSUPPORTED, "UnknownOutput"),
    "more memory than there is": (
        {"budget": agent_pb2.Budget(memory_bytes=2**63)},
        FAILED,
        "NoMemoryLeft",
    ),
    "all the memory of a number": (
        {"budget": agent_pb2.Budget(memory_bytes=2**64 - 1)},
        FAILED,
        "NoMemoryLeft",
    ),
    "tables without memory": (
        {"trackers": [agent_pb2.Tracker(name="syscall")], "budget": agent_pb2.Budget()},
        FAILED,
        "NoMemoryLeft",
    ),
}
"""Changes of a job → the state and the reason that its report tells."""

HARMLESS = {
    "no interval": {"interval_ms": 0},
    "the longest interval": {"interval_ms": 2**32 - 1},
    "the shortest interval": {"interval_ms": 1},
    "the highest rate": {"budget": agent_pb2.Budget(memory_bytes=1, events_per_second=2**64 - 1)},
    "a sample of almost none": {"trackers": [opens(sample=2**32 - 1)]},
    "processes that are not there": {
        "target": agent_pb2.Target(everything=True, pids=[0, 2**22 + 1, 2**31, 2**32 - 1])
    },
    "no target": {"target": agent_pb2.Target()},
    "a million pods": {
        "target": agent_pb2.Target(pods=True, all_namespaces=True, pod_names=names(MANY))
    },
    "a million labels": {
        "target": agent_pb2.Target(
            pods=True,
            all_namespaces=True,
            pod_selector=agent_pb2.LabelSelector(
                match_expressions=[
                    agent_pb2.Requirement(key="a", operator="NotIn", values=names(MANY))
                ]
            ),
        )
    },
    "a label with no such operator": {
        "target": agent_pb2.Target(
            pods=True,
            all_namespaces=True,
            pod_selector=agent_pb2.LabelSelector(
                match_expressions=[agent_pb2.Requirement(key="\x1b", operator="\x1b[2J")]
            ),
        )
    },
    "cgroups out of the tree": {
        "target": agent_pb2.Target(cgroups=["/../../..", "", "\0", "x" * 9999])
    },
    "a million cgroups": {"target": agent_pb2.Target(cgroups=names(MANY))},
    "a deadline long ago": {"deadline_ms": 1},
    "a deadline before time began": {"deadline_ms": -(2**63)},
    "the last deadline of all": {"deadline_ms": 2**63 - 1},
    "a pattern that others take ages for": where(f'path.matches("{"(a+)+" * 40}$")'),
    "a condition on every column": where(
        'path.contains("\\u202e") || comm == "\\x1b[2J" || pid < 0'
    ),
}
"""Changes of a job that let it run, or wait, or be over, without harm."""


def spoilt(make: A, change: dict[str, Any]) -> agent_pb2.Job:
    job: agent_pb2.Job = make("bad")
    for name, value in change.items():
        job.ClearField(name)
        if isinstance(value, list):
            getattr(job, name).extend(value)
        elif isinstance(value, int):
            setattr(job, name, value)
        else:
            getattr(job, name).CopyFrom(value)
    return job


@pytest.fixture(scope="module")
def running(machine: A, job: A) -> Any:
    """One good job beside all the bad ones."""
    return machine(job("good"), sinks=sinks)


def sinks(wanted: agent_pb2.Job) -> Any:
    guards = Guards({}, Spool(Path("/nowhere")), Security("n1"))
    return Sinks(Path("/nowhere"), guards, LineWriter()).open(wanted)


def report(running: Any, job: A, bad: agent_pb2.Job, loads: Any) -> agent_pb2.JobReport:
    """Apply a bad job beside a good one, which must not notice; return the bad one's report."""
    before = running.total("good").delivered
    began = time.monotonic()
    running.apply(job("good"), bad)
    assert time.monotonic() - began < 10
    loads.run("opens", 100, "/none/good-")
    running.wait(lambda: running.total("good").delivered >= before + 100)
    assert running.total("good") == Totals(matched=before + 100, delivered=before + 100)
    found: agent_pb2.JobReport = running.standing.reports["bad"]
    assert found.ByteSize() < 8192
    assert running.standing.reports["good"].state == agent_pb2.JOB_STATE_RUNNING
    return found


@pytest.mark.parametrize("what", REFUSED)
def test_a_job_that_cannot_be_is_refused_alone(
    running: Any, job: A, loads: Any, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    change, state, reason = REFUSED[what]
    told = report(running, job, spoilt(job, change), loads)
    assert (told.state, told.reason) == (state, reason), told.message
    assert told.message
    assert told.message.isprintable()
    assert all(len(each.getMessage()) < 4096 for each in caplog.records)
    assert all(each.getMessage().isprintable() for each in caplog.records)


@pytest.mark.parametrize("what", HARMLESS)
def test_a_job_that_is_odd_does_no_harm(
    running: Any, job: A, loads: Any, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    told = report(running, job, spoilt(job, HARMLESS[what]), loads)
    assert told.state != FAILED, told.message
    assert [each for each in caplog.records if each.exc_info] == []
