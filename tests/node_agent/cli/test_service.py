# SPDX-License-Identifier: Apache-2.0
"""`eunomia daemon` and `eunomia server`: until SIGTERM, with files and metrics."""

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
Command = Callable[..., Any]

COMM = 'comm="server-test"'
CONFIG = """
[daemon]
output = "{folder}"
metrics = {port}
no-rules = true
[daemon.trackers.opensnoop]
prefix = "/nowhere/daemon"
where = 'path.endsWith("7")'
"""
JUDGING = """
[daemon]
metrics = {port}
[daemon.trackers.opensnoop]
prefix = "/nowhere/unused"
[rules]
builtin = []
files = ["mine.yaml"]
"""
RULES = """
group: mine
help: Files that nobody opens.
rules:
  - name: opened
    severity: alert
    events: [opensnoop]
    when: path.startsWith("/nowhere/judged") && path.endsWith("7")
    message: "{{comm}} opened {{path}}"
    deduplicate: 0s
  - name: often
    severity: warning
    events: [opensnoop]
    when: path.startsWith("/nowhere/judged")
    count: 100
    within: 60s
    message: "{{comm}} opens many"
  - name: wrong
    events: [opensnoop]
    when: pth == "x"
    message: "{{pth}}"
"""


@pytest.fixture
def port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def scrape(port: int, is_wanted: Callable[[str], bool]) -> str:
    """Return the metrics once they hold what is wanted, or after ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page: str = answer.read().decode()
        if is_wanted(page) or time.monotonic() > deadline:
            return page
        time.sleep(0.2)


def test_the_daemon_writes_files_and_serves_metrics(
    start: Command, opener: Command, tmp_path: Path, port: int
) -> None:
    path, folder = tmp_path / "eunomia.toml", tmp_path / "rows"
    path.write_text(CONFIG.format(folder=folder, port=port))
    command = start("daemon", "--config", str(path))
    opener("/nowhere/daemon", 100).go()
    matched = 'eunomia_job_events_matched_total{tracejob="daemon",tracker="opensnoop"} 10.0'
    assert matched in scrape(port, lambda page: matched in page)
    done = command.end(signal.SIGTERM)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        f"eunomia: running opensnoop; metrics on port {port} at /metrics",
        "10 events, 0 lost, 0 limited: 100 % complete",
    ]
    rows = [json.loads(line) for line in (folder / "host.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [f"/nowhere/daemon{i}" for i in range(7, 100, 10)]


def test_the_daemon_judges_by_rules(
    start: Command, opener: Command, tmp_path: Path, port: int
) -> None:
    path, rules = tmp_path / "eunomia.toml", tmp_path / "mine.yaml"
    path.write_text(JUDGING.format(port=port))
    rules.write_text(RULES.replace("{{", "{").replace("}}", "}"))
    command = start("daemon", "--config", str(path))
    opener("/nowhere/judged", 100, comm="judge-test").go()
    names = {"alerts_total": 10.0, "warnings_total": 1.0}

    def counted(page: str) -> dict[str, float]:
        lines = [line for line in page.splitlines() if line.startswith("eunomia_security_")]
        found = [(line.partition("{")[0], line.split()[-1]) for line in lines]
        return {name.removeprefix("eunomia_security_"): float(n) for name, n in found}

    assert counted(scrape(port, lambda page: counted(page) == names)) == names
    done = command.end(signal.SIGTERM)
    assert done.code == 0
    wrong, running, _, last = done.err.splitlines()
    assert wrong.startswith(f"eunomia: {rules}:20: wrong: when: opensnoop: at character 1: ")
    assert running == (
        "eunomia: running opensnoop; judging opensnoop by 2 rules;"
        f" metrics on port {port} at /metrics"
    )
    assert last == "rules: 10 alerts, 1 warning, 0 events"
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [each["message"] for each in told if each["rule"] == "mine/opened"] == [
        f"judge-test opened /nowhere/judged{number}" for number in range(7, 100, 10)
    ]
    (often,) = [each for each in told if each["rule"] == "mine/often"]
    assert (often["count"], often["evidence"]["path"]) == (100, "/nowhere/judged99")


def test_the_daemon_files_alerts_and_a_replay_tells_the_same(
    run: Command, start: Command, opener: Command, tmp_path: Path
) -> None:
    path, rules, folder = tmp_path / "eunomia.toml", tmp_path / "mine.yaml", tmp_path / "rows"
    text = JUDGING.replace("/nowhere/unused", "/nowhere/judged").replace("metrics = {port}", "")
    path.write_text(text)
    rules.write_text(RULES[: RULES.index("  - name: wrong")].replace("{{", "{").replace("}}", "}"))
    command = start("daemon", "--config", str(path), "-o", str(folder))
    opener("/nowhere/judged", 100, comm="judge-test").go()
    assert command.end(signal.SIGTERM).out == ""
    done = run("rules", "test", str(rules), "--events", str(folder), "--fmt", "json")
    assert done.err == "2 rules, 100 rows: 10 alerts, 1 warning, 0 events\n"
    live = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    again = [json.loads(line) for line in done.out.splitlines()]
    assert len(live) == len(again) == 11
    told = ("rule", "severity", "message", "count", "comm", "pid")
    assert [[each[name] for name in told] for each in again] == [
        [each[name] for name in told] for each in live
    ]


def test_the_server_serves_metrics_alone(start: Command, opener: Command, port: int) -> None:
    command = start("server", "--prometheus", "--listen", str(port), "opensnoop")
    opener("/nowhere/server", 500, comm="server-test").go()

    def opens(page: str) -> float:
        name = "eunomia_observed_files_open_count_total{"
        mine = [line for line in page.splitlines() if line.startswith(name) and COMM in line]
        return sum(float(line.split()[-1]) for line in mine)

    assert opens(scrape(port, lambda page: opens(page) >= 500)) == 500
    done = command.end(signal.SIGTERM)
    assert (done.code, done.out) == (0, "")
    assert done.last_line.endswith("% complete")


def test_a_port_that_is_taken_is_told(run: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        done = run("server", "--prometheus", "--listen", str(taken.getsockname()[1]), "opensnoop")
    assert (done.code, done.out) == (2, "")
    assert "Address already in use" in done.err
