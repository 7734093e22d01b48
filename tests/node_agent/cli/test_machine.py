# SPDX-License-Identifier: Apache-2.0
"""On a machine that lacks something, it is named, with what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eunomia_agent.cli.machine import missing_capabilities

EUNOMIA = Path(sys.executable).with_name("eunomia")
pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="hiding parts of the machine needs root"),
]
HIDE_LIBRARY = (
    "for file in $(ldconfig -p | sed -n 's/.*libbpf.so.1 .*=> //p'); do"
    " mount --bind /dev/null $(readlink -f $file); done"
)
HIDE_TYPES = "mount -t tmpfs none /sys/kernel/btf"
HIDE_TRACEFS = "mount -t tmpfs none /sys/kernel/tracing"


def run_without(hide: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where a part of the machine is hidden from it alone."""
    line = f'{hide}; exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", line, "sh", EUNOMIA, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("hide", "what", "told"),
    [
        (HIDE_LIBRARY, "libbpf", "apt-get install libbpf1"),
        (HIDE_TYPES, "BTF", "CONFIG_DEBUG_INFO_BTF=y"),
    ],
)
def test_what_is_missing_is_told_by_the_doctor_and_by_run(hide: str, what: str, told: str) -> None:
    done = run_without(hide, "run", "opensnoop", "-T", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1

    done = run_without(hide, "doctor", "--fmt", "json")
    assert done.returncode == 1
    findings = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert findings[what]["state"] == "missing"
    assert told in findings[what]["advice"]


def test_no_tracker_needs_tracefs() -> None:
    done = run_without(HIDE_TRACEFS, "run", "opensnoop", "--prefix", "/nowhere/n", "-T", "1")
    assert (done.returncode, done.stdout) == (0, "")

    done = run_without(HIDE_TRACEFS, "doctor", "--fmt", "json")
    assert done.returncode == 0
    findings = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert findings["tracepoint"]["state"] == "note"
    assert "mount it there" in findings["tracepoint"]["found"]


def test_a_mount_whose_name_is_no_text_keeps_nobody_from_tracing() -> None:
    mount = (
        "mount -t tmpfs none /mnt; cd /mnt; m=$(printf 'm\\377\\rx');"
        ' mkdir "$m"; mount -t tmpfs none "$m"'
    )
    told = run_without("true", "doctor").stdout
    assert run_without(mount, "doctor").stdout == told
    done = run_without(mount, "run", "opensnoop", "--prefix", "/nowhere/m", "-T", "0.2")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("0 events")


def test_run_tells_what_keeps_owners_from_being_known() -> None:
    hide = "mount -t tmpfs none /sys/fs/cgroup"
    done = run_without(hide, "run", "opensnoop", "--prefix", "/nowhere/n", "-T", "2.5")
    assert (done.returncode, done.stdout) == (0, "")
    problem, last = done.stderr.splitlines()
    assert problem.startswith("eunomia: the tree of cgroups cannot be read: ")
    assert last.startswith("0 events")


def test_either_of_two_grants_is_enough() -> None:
    both, admin = 1 << 39 | 1 << 38, 1 << 21
    assert missing_capabilities(f"CapInh: 0\nCapEff:\t{both:016x}\n") == []
    assert missing_capabilities(f"CapEff:\t{admin:016x}\n") == []
    assert missing_capabilities(f"CapEff:\t{1 << 39:016x}\n") == ["CAP_PERFMON"]
    assert missing_capabilities("") == ["CAP_BPF", "CAP_PERFMON"]
