# SPDX-License-Identifier: Apache-2.0
"""The benchmark, from a collector's description to the page."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from bench import chart, goals, report
from bench.collector import FOLDER, collectors, read
from bench.errors import BenchError
from bench.results import Results
from dev.command import found
from dev.folders import PROJECT


def test_every_collector_says_how_its_events_are_counted():
    described = collectors()
    assert [each.name for each in described if each.ours] == ["Eunomia"]
    for collector in described:
        for workload, modes in collector.trials.items():
            for mode, trial in modes.items():
                values = {
                    "marker": "m-1", "port": "20000", "probe_port": "1", "comm": "generator",
                    "cgroup": "/c", "cgroup_ids": "7 8", "output": "/o", "files": "/f",
                    "python": "/p",
                }  # fmt: skip
                filled = trial.filled(values)
                words = [word for command in filled.commands for word in command]
                assert not any("<each:" in word or "<comm>" in word for word in words)
                assert filled.row or filled.total, (workload, mode)


def test_a_wrong_description_is_refused_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.collector.PROJECT", tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nversion = ["mine"]\n[trials.opens.rows]\nrow = "x"\n')
    with pytest.raises(BenchError, match=r"mine\.toml.*command"):
        read(path)


def test_a_filter_names_each_traced_cgroup():
    bpftrace = read(FOLDER / "bpftrace.toml").trials["opens"]["rows"]
    (command,) = bpftrace.filled({"cgroup_ids": "7 8"}).commands
    assert "/cgroup == 7 || cgroup == 8 || 0/" in command[-1]


def delivery(name: str, delivered: float, **more: float) -> dict[str, object]:
    row = {
        "form": "opens", "rate": 0, "collector": name, "made_a_second": 400_000.0,
        "delivered_a_second": 400_000 * delivered, "delivered": delivered,
        "delivered_least": delivered, "lost": round(400_000 * (1 - delivered)), "told": 0,
        "cpu_ns": 900.0, "operation_ns": 3000.0, "bare_ns": 2000.0, "resident_mib": 70.0,
    }  # fmt: skip
    return {**row, **more}


def test_a_missed_goal_is_said_and_a_silent_loss_as_well():
    results = Results(
        sections={
            "delivery": [delivery("Eunomia, rows", 0.999_999), delivery("other, rows", 0.3)],
        }
    )
    delivered, rate, cpu, *_ = goals.verdicts(results)
    assert (delivered.ours, delivered.met) == ("99.9 %", False)
    assert delivered.peers == "other 30 % and silent"
    assert (rate.met, cpu.met) == (True, True)
    page = "\n".join(report.markdown(results, "x.svg"))
    assert "| 99.9 % | **no** | other 30 % and silent |" in page
    assert all(each.met is None for each in goals.verdicts(Results()))


def test_the_chart_is_one_well_formed_file(tmp_path):
    bars = [chart.Bar("a < b & c", 2.0, "2", ours=True), chart.Bar("none", 0.0, "0", ours=False)]
    path = tmp_path / "chart.svg"
    chart.chart([chart.Panel("t", "more is better", bars, goal=4.0)] * 3).write(path)
    texts = [each.text for each in ElementTree.parse(path).iter() if each.tag.endswith("text")]
    assert texts.count("a < b & c") == 3


@pytest.mark.bpf
@pytest.mark.timeout(120)
def test_a_quick_run_measures_and_writes_the_page(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")
    if found("cc") is None:
        pytest.skip("needs a C compiler for the load")
    words = [
        "--quick", "--no-cluster", "--no-install", "--collectors", "Eunomia,bpftrace",
        "--json", str(tmp_path / "bench.json"), "--page", str(tmp_path / "page.md"),
        "delivery", "launch",
    ]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    told = json.loads((tmp_path / "bench.json").read_text())
    assert not [what for what in told["failures"] if what.startswith("Eunomia")], ended.stderr
    assert set(told["failures"]) <= {"bpftrace"}, ended.stderr
    rows = [row for row in told["sections"]["delivery"] if row["collector"].startswith("Eunomia")]
    assert {row["form"] for row in rows} == {"opens", "execs", "connects"}
    for row in rows:
        assert row["told"] == row["lost"], row
    page = (tmp_path / "page.md").read_text()
    assert "its figures are worth nothing" in page
    assert "### opens, flat out" in page
    assert ElementTree.parse(tmp_path / "page.svg").getroot().tag.endswith("svg")
