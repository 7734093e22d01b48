# SPDX-License-Identifier: Apache-2.0
"""The figures of rules: what is read of a daemon, how rounds are summed up, and the page."""

import json
import os
import subprocess
import sys

import pytest

from bench import judging, rules
from bench.alerting import percentile
from bench.daemon import End, Rule, ended
from bench.errors import BenchError
from bench.judging import Case, Judging, Round
from bench.results import Results
from dev.command import found
from dev.folders import PROJECT
from eunomia_agent.rules.judge import compile_all
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2


def test_a_daemons_last_words_are_its_account():
    errors = (
        "eunomia: running process; judging access, tcp by 111 rules\n"
        "1,234,567 events, 89 lost, 0 limited: 99.9 % complete\n"
        "rules: 0 alerts, 0 warnings, 201 events\n"
    )
    assert ended(errors) == End(rows=1_234_567, lost=89, rules=111)


def test_a_daemon_that_died_is_no_figure():
    with pytest.raises(BenchError, match="cannot load"):
        ended("eunomia: cannot load access")


def test_a_share_is_what_the_load_cost_more_in_the_daemon_and_in_the_kernel():
    one = Round(agent=0.05, rest=0.01, added_ns=400, rate=100_000, rows=5000, lost=0, rules=45)
    assert one.per_cent == pytest.approx(4 + 4)

    told = Judging()
    case = Case("opens", "opens", ("execution",), 95_000, 5_000, goal=judging.GOAL)
    told.rounds[case] += [one, Round(0.25, 0.0, 0, 90_000, 4000, 7, 45), one]
    whole, *_ = told.figures()
    assert (whole.name, whole.met) == ("45 rules, 100,000 opens", True)
    assert whole.note == "100,000 a second were made; 5,000 rows read, 0 told as lost"


def test_of_the_opens_that_pass_five_of_a_hundred_do_so(tmp_path):
    for case in judging.cases(tmp_path, 100_000):
        assert case.total == (100_000 if case.form == "opens" else judging.STARTS)
        assert case.passing in {0, case.total // 20}
        assert bool(case.passing) == any("startsWith" in rule.when for rule in case.rules)


def test_the_rules_beside_the_librarys_can_be_judged(tmp_path):
    written = [each for case in judging.cases(tmp_path, 100) for each in case.rules]
    wire = [_wire(each) for each in written]
    good, problems = compile_all(wire, Catalogue.load().trackers)
    assert (len(good), problems) == (len(written), [])


def _wire(rule: Rule) -> agent_pb2.Rule:
    return agent_pb2.Rule(
        name=rule.name,
        trackers=[rule.tracker],
        when=rule.when,
        severity=agent_pb2.SEVERITY_EVENT,
        message="x",
    )


def test_a_percentile_of_few_is_between_them():
    assert percentile([3.0], 99) == 3.0
    assert percentile([float(n) for n in range(101)], 99) == pytest.approx(99)


def test_a_page_without_figures_is_not_written(tmp_path):
    with pytest.raises(BenchError, match="measure first"):
        rules.write(Results(), tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()


@pytest.mark.bpf
@pytest.mark.timeout(180)
def test_a_quick_run_measures_all_of_it_and_writes_the_page(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")
    if found("cc") is None or found("clang") is None:
        pytest.skip("needs compilers for the load")
    kept, page = tmp_path / "bench.json", tmp_path / "page.md"
    words = ["rules", "--quick", "--json", str(kept), "--page", str(page)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = {row["name"]: row for row in json.loads(kept.read_text())["figures"]}
    assert len(figures["event to alert: median"]["values"]) == rules.QUICK.deeds
    killed = figures["call to death, killed in the kernel: median"]
    assert killed["note"].endswith(f"0 of {rules.QUICK.deaths} came to their next instruction")
    assert "its figures are worth nothing" in page.read_text()
