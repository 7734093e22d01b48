# SPDX-License-Identifier: Apache-2.0
"""`eunomia run -f`: a job from a file is judged as the operator judges it, and then runs here."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
needs_bpf = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")

JOB = """\
apiVersion: eunomia.dev/v1alpha1
kind: ClusterTraceJob
metadata:
  name: opens
spec:
  target:
    host: true
  trackers:
    - name: opensnoop
      params:
        prefix: /nowhere/file
    - name: process
      params: {args: false}
      where: comm == "no-such-name"
  duration: 3s
"""


@pytest.mark.bpf
@needs_bpf
def test_runs_a_jobs_trackers_for_its_duration(
    start: Command, opener: Command, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    opens = opener("/nowhere/file", 40)
    command = start("run", "-f", str(path), "--fmt", "json")
    opens.go()
    done = command.wait(30)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert {row["tracker"] for row in rows} == {"opensnoop"}
    assert [row["path"] for row in rows] == [f"/nowhere/file{i}" for i in range(40)]
    assert (done.code, done.err) == (0, "40 events, 0 lost, 0 limited: 100 % complete\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kind: Cluster", "kind: Clutter", "2: kind: must be TraceJob or ClusterTraceJob"),
        ("v1alpha1", "v9", "1: apiVersion: must be eunomia.dev/v1alpha1, not 'eunomia.dev/v9'"),
        ("  name: opens", "  labels: {}", "3: metadata.name: is required"),
        (
            "- name: opensnoop",
            "- name: opnsnoop",
            '9: spec.trackers[0].name: there is no tracker "',
        ),
        ("prefix:", "prefixes:", '11: spec.trackers[0].params.prefixes: tracker "opensnoop" has '),
        ("prefix: /", "prefix: 1 #", "11: spec.trackers[0].params.prefix: must be a string of at"),
        ("comm ==", "com ==", '14: spec.trackers[1].where: at character 1: no column "com"'),
        ("duration: 3s", "duration: 5x", "15: spec.duration: "),
        ("duration: 3s", "durations: 5s", "15: spec.durations: there is no such field"),
        ("host: true", "host: maybe", "7: spec.target.host: "),
        ("host: true", "podSelector: {}\n    namespaceSelector: {matchLabels: {a: b}}", "8: spec"),
        ("duration: 3s", "suspend: true", "15: spec.suspend: there is nothing to resume it"),
        ("duration: 3s", "duration: [", "16: "),
        ("duration: 3s", "duration: 5s\n---\na: 1", "1: holds 2 documents; give one"),
        (
            "duration: 3s",
            "duration: 3s\n  duration: 6s",
            "16: 'duration' is no key, or is there twice",
        ),
        ("metadata:\n", "metadata: &a\n  x: *a\n", "3: an alias stands for it: write it out"),
        (JOB, "[]", "1: holds no object"),
        (JOB, "", "1: holds no object"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_field(
    ask: Command, tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = tmp_path / "job.yaml"
    assert old in JOB
    path.write_text(JOB.replace(old, new))
    done = ask("run", "-f", str(path))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"eunomia: {path}:{told}")
    assert done.err.count("\n") == 1


def test_bombs_of_aliases_and_foreign_bytes_are_refused(ask: Command, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    assert f"{path}:1: an alias stands for it" in ask("run", "-f", str(path)).err
    path.write_bytes(b"kind: TraceJob\nx: \xff\n")
    assert f"{path}:2: is not UTF-8" in ask("run", "-f", str(path)).err
    done = ask("run", "-f", str(tmp_path / "none"))
    assert (done.code, done.err) == (2, f"eunomia: {tmp_path}/none: No such file or directory\n")


def test_the_job_alone_says_whom_to_trace(ask: Command, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    done = ask("run", "-f", str(path), "--uid", "0")
    assert "with -f the job says whom and what to trace: leave out --uid" in done.err
    done = ask("run", "-f", str(path), "opensnoop")
    assert "-f says which trackers to run: leave out opensnoop" in done.err
    done = ask("run", "-f", str(path), "--fmt", "csv")
    assert "the trackers have different columns" in done.err
