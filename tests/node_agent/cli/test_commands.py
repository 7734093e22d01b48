# SPDX-License-Identifier: Apache-2.0
"""The commands that tell, and the defaults that a file gives."""

import json
import os
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from eunomia_api.tracker import Catalogue

Command = Callable[..., Any]
needs_bpf = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")


def test_lists_every_tracker_of_the_catalogue(ask: Command) -> None:
    names = [tracker.name for tracker in Catalogue.load().trackers]
    head, *lines = ask("trackers").out.splitlines()
    assert head.split() == ["TRACKER", "RESULTS"]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == names
    told = [json.loads(line) for line in ask("trackers", "--fmt", "json").out.splitlines()]
    assert [each["name"] for each in told] == names


@pytest.mark.parametrize("name", [tracker.name for tracker in Catalogue.load().trackers])
def test_tells_every_option_and_column_of_a_tracker_in_both_places(ask: Command, name: str) -> None:
    tracker = Catalogue.load().tracker(name)
    told = ask("trackers", name).out
    help_text = ask("run", name, "--help").out
    for param in tracker.params:
        flag = re.sub("([A-Z])", lambda upper: f"-{upper[1].lower()}", param)
        on = tracker.params[param].default is True
        assert re.search(rf"--{re.escape('[no-]') if on else ''}{flag}\b", told), param
        assert re.search(rf"--({name}-)?{flag}\b", help_text), param
    for column in tracker.rows:
        assert re.search(rf"^  {column.name} ", told, re.MULTILINE), column.name
        assert column.name in help_text.partition("Columns:")[2]
    for hook in tracker.requires.hooks:
        assert hook in told


def test_tells_of_one_tracker_for_programs(ask: Command) -> None:
    told = json.loads(ask("trackers", "opensnoop", "--fmt", "json").out)
    assert told["params"]["failedOnly"]["default"] is False
    assert told["columns"][-1]["name"] == "path"
    assert list(told["hooks"]) == ["fexit/do_sys_openat2", "tp_btf/sys_exit"]


@pytest.mark.bpf
@needs_bpf
def test_the_doctor_finds_all_that_the_core_trackers_need(run: Command) -> None:
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "All core trackers can run here."
    told = json.loads(run("doctor", "--fmt", "json").out)
    assert told["fit"] is True
    states = {each["what"]: each["state"] for each in told["findings"]}
    assert {states[what] for what in ("kernel", "libbpf", "capabilities", "BTF")} == {"ok"}
    assert states["core tracker process"] == "ok"


@needs_bpf
def test_the_doctor_says_what_to_grant(run: Command) -> None:
    done = run("doctor", "--fmt", "json", user=65534, group=65534, extra_groups=[])
    assert done.code == 1
    (finding,) = [
        each for each in json.loads(done.out)["findings"] if each["what"] == "capabilities"
    ]
    assert finding["state"] == "missing"
    assert finding["found"] == "without CAP_BPF and CAP_PERFMON"
    assert finding["advice"].startswith("run it as root")


def test_an_option_that_is_on_is_shown_with_what_turns_it_off(ask: Command) -> None:
    shown = re.compile(r"--signals / --no-signals +Report signals .*?\[default: signals\]")
    assert shown.search(" ".join(ask("run", "ipc", "--help").out.split()))
    told = " ".join(ask("trackers", "ipc").out.split())
    assert "--[no-]signals bool Report signals that are sent and received. Default: on." in told


def test_tells_its_version(run: Command) -> None:
    done = run("--version")
    assert (done.code, done.out, done.err) == (0, f"eunomia {version('eunomia')}\n", "")


def test_help_and_completion(run: Command) -> None:
    done = run()
    assert done.code == 0
    for name in ("run", "trackers", "daemon", "server", "rules", "doctor"):
        assert re.search(rf"^  {name} ", done.out, re.MULTILINE)
    undetected = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    for shell in ("bash", "zsh", "fish"):
        done = run("--show-completion", shell, env=undetected)
        assert done.code == 0
        assert "_EUNOMIA_COMPLETE=complete_" in done.out
    complete = {
        **os.environ,
        "_EUNOMIA_COMPLETE": "complete_bash",
        "COMP_WORDS": "eunomia run open",
        "COMP_CWORD": "2",
    }
    assert run(env=complete).out.split() == ["opensnoop"]


CONFIG = """
[run]
fmt = "json"
[run.opensnoop]
prefix = "/nowhere/config"
duration = 2
"""


@pytest.mark.bpf
@needs_bpf
def test_a_file_gives_defaults(start: Command, opener: Command, tmp_path: Path) -> None:
    path = tmp_path / "eunomia.toml"
    path.write_text(CONFIG)
    wanted, other = opener("/nowhere/config", 3), opener("/nowhere/other", 3)
    command = start("--config", str(path), "run", "opensnoop")
    wanted.go()
    other.go()
    done = command.wait()
    assert [json.loads(line)["path"] for line in done.out.splitlines()] == [
        f"/nowhere/config{i}" for i in range(3)
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[rum]", "rum: there is no such key; did you mean run?"),
        ("[run]\nfmtt = 'json'", "run.fmtt: there is no such key; did you mean fmt?"),
        ("[run.opensnoop]\nprefx = ''", "run.opensnoop.prefx: there is no such key; did you mean"),
        ("[run.opnsnoop]", "run.opnsnoop: there is no tracker 'opnsnoop'; did you mean opensnoop?"),
        ("run = 1", "run: must be a table"),
        ("[daemon.trackers.opensnoop]\nflags = 'x'", "daemon.trackers.opensnoop: flags must be"),
        ("[daemon.trackers.opensnoop]\nsample = 0", "daemon.trackers.opensnoop: where is text,"),
        ("[run", ""),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(
    ask: Command, tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "eunomia.toml"
    path.write_text(text)
    done = ask("--config", str(path), "trackers")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"eunomia: {path}: {told}")
    assert done.err.count("\n") == 1
