# SPDX-License-Identifier: Apache-2.0
"""A policy's alerts in the agent's log and in a file, each as one line of JSON."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.errors import OutputUnknown
from eunomia_agent.finding import Finding
from eunomia_agent.jobs.guards import Guards
from eunomia_agent.jobs.outputs import AlertOutputs
from eunomia_agent.metrics.security import Security
from eunomia_agent.sinks.log import LineWriter
from eunomia_api import agent_pb2

WEB = Owner(7, "container", "shop", "web-0", "uid-7", "nginx", "1b" * 32, image="nginx:1")


class Full:
    """An outlet that has no room."""

    def put(self, alert: agent_pb2.Alert) -> bool:
        return False


class Node:
    """The guards of a node, and what comes out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log, write = os.pipe()
        self.outputs = AlertOutputs(folder, LineWriter(write))
        self.guards = Guards({}, Full(), Security("n1"), self.outputs)

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in os.read(self._log, 1 << 16).splitlines()]

    def filed(self) -> list[dict[str, Any]]:
        file = self.folder / "shop" / "guard_alerts" / "alerts.jsonl"
        return [json.loads(line) for line in file.read_bytes().splitlines()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def policy(*outputs: str, uid: str = "p-1") -> agent_pb2.Job:
    return agent_pb2.Job(uid=uid, namespace="shop", name="guard", alert_outputs=outputs)


def refused(call: str) -> Finding:
    message, row = "{comm} called {call}", {"comm": "sh", "call": call, "pid": 42}
    return Finding("call-refused", call, WEB, 1, message, row, response="Refused")


def test_each_alert_is_a_line_in_the_log_and_in_a_file_of_the_policys_own(node: Node) -> None:
    observing = node.guards.guard(policy("file", "log"))
    enforcing = node.guards.guard(policy("file", "log", uid="p-1/kill/rule"))
    shared = [node.outputs.of(policy("file", "log", uid=each)) for each in ("p-1", "p-1/kill/rule")]
    assert shared[0] is shared[1]  # else one would rotate the other's file away
    observing.find(refused("mount"))
    enforcing.find(refused("swapon"))
    observing.find(refused("acct"))

    filed, logged = node.filed(), node.logged()
    assert [each["evidence"]["call"] for each in filed] == ["mount", "swapon", "acct"]
    assert logged == [{"job": "shop/guard", **each} for each in filed]
    told = filed[0]
    assert (told["rule"], told["severity"], told["message"]) == (
        *("call-refused", "warning", "sh called mount"),
    )
    assert (told["node"], told["pod"], told["response"], told["dry_run"]) == (
        *("n1", "web-0", "Refused", False),
    )
    # they are told here although the spool has no room, and the one is not the other's account
    assert observing.report() == agent_pb2.PolicyReport(warnings=2, dropped=2)


def test_without_an_output_nothing_is_written(node: Node) -> None:
    node.guards.guard(policy()).find(refused("mount"))
    assert list(node.folder.iterdir()) == []


def test_an_output_that_takes_nothing_is_told_and_told_no_more_once_it_does(node: Node) -> None:
    guard = node.guards.guard(policy("file"))
    (node.folder / "shop").write_text("in the way")
    guard.find(refused("mount"))
    assert "shop/guard_alerts/alerts.jsonl" in (guard.problem or "")
    (node.folder / "shop").unlink()
    guard.find(refused("acct"))
    assert [each["evidence"]["call"] for each in node.filed()] == ["acct"]
    assert "shop" not in (guard.problem or "")


def test_files_are_closed_with_the_policy(node: Node) -> None:
    before = len(os.listdir("/proc/self/fd"))
    guard = node.guards.guard(policy("file"))
    guard.find(refused("mount"))
    assert len(os.listdir("/proc/self/fd")) > before
    node.guards.forget(policy("file", uid="p-1"))
    assert len(os.listdir("/proc/self/fd")) == before
    guard.find(refused("acct"))
    assert len(os.listdir("/proc/self/fd")) == before
    assert [each["evidence"]["call"] for each in node.filed()] == ["mount"]


def test_an_output_that_this_agent_does_not_have_is_named(node: Node) -> None:
    with pytest.raises(OutputUnknown, match="no output 'paper'; it has file, log"):
        node.guards.guard(policy("paper"))
