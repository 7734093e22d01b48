# SPDX-License-Identifier: Apache-2.0
"""Capabilities that are asked for in a cgroup, with the call that made the kernel ask."""

import mmap
import os
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.events.names import CAPABILITIES
from eunomia_agent.events.syscalls import NATIVE
from eunomia_agent.kernel import hooks

pytestmark = pytest.mark.bpf

NOBODY = 65534
SYS_CHROOT = next(number for number, name in CAPABILITIES.items() if name == "CAP_SYS_CHROOT")


def run(spawn: Any, function: Callable[[], object]) -> int:
    pid: int = spawn(function)
    os.waitpid(pid, 0)
    return pid


def asks() -> None:
    """Is granted CAP_SYS_CHROOT and CAP_SETUID, and denied the first one of them after."""
    mmap.mmap(-1, 1 << 20)  # asks for CAP_SYS_ADMIN as every mapping does
    os.chroot("/")
    os.setresuid(NOBODY, NOBODY, NOBODY)
    with suppress(PermissionError):
        os.chroot("/")


def told(tracked: Any) -> list[tuple[str, str, bool]]:
    batch = tracked.rows()
    capabilities, calls = batch.text("capability"), batch.text("call")
    granted = batch.fixed["granted"].tolist()
    return list(zip(capabilities, calls, map(bool, granted), strict=True))


def test_each_check_is_told_with_its_call_and_its_answer(track: Any, spawn: Any) -> None:
    tracked = track("capable")
    pid = run(spawn, asks)
    batch = tracked.rows()
    rows = set(
        zip(
            batch.text("capability"),
            batch.text("call"),
            map(bool, batch.fixed["granted"].tolist()),
            strict=True,
        )
    )

    assert {
        ("CAP_SYS_CHROOT", "chroot", True),
        ("CAP_SYS_CHROOT", "chroot", False),
        ("CAP_SETUID", "setresuid", True),
    } <= rows
    assert not any(capability == "CAP_SYS_ADMIN" for capability, _, _ in rows)
    assert set(batch.fixed["pid"].tolist()) == {pid}
    assert set(batch.fixed["ppid"].tolist()) == {os.getpid()}
    assert set(batch.text("exe")) == {os.path.realpath("/proc/self/exe")}


@pytest.mark.parametrize(
    ("params", "seen"),
    [
        ({"denied_only": True}, [("CAP_SYS_CHROOT", "chroot", False)]),
        (
            {"where_capability": (SYS_CHROOT, SYS_CHROOT)},
            [("CAP_SYS_CHROOT", "chroot", True), ("CAP_SYS_CHROOT", "chroot", False)],
        ),
        ({"where_granted": (0, 0)}, [("CAP_SYS_CHROOT", "chroot", False)]),
    ],
)
def test_the_kernel_leaves_out_what_is_not_asked_for(
    track: Any, spawn: Any, cgroup: Path, params: dict[str, Any], seen: list[Any]
) -> None:
    packed = {
        name: struct.pack("=qq", *value) if isinstance(value, tuple) else value
        for name, value in params.items()
    }
    tracked = track("capable", **packed)
    run(spawn, asks)

    rows = told(tracked)

    assert [row for row in rows if row[0] == "CAP_SYS_CHROOT"] == seen
    assert tracked.account(cgroup).matched == len(rows)


@pytest.mark.skipif(
    hooks.missing("tp_btf/cap_capable") is not None,
    reason="needs the tracepoint cap_capable: a function is not hooked where it is inlined",
)
def test_what_a_mapping_asks_is_told_where_it_is_wanted(track: Any, spawn: Any) -> None:
    tracked = track("capable", memory=True)
    run(spawn, asks)

    assert ("CAP_SYS_ADMIN", "mmap", True) in told(tracked)


def test_checks_are_counted_by_process_capability_and_call(track: Any, spawn: Any) -> None:
    tracked = track("capable", counting=True)
    numbers = {name: number for number, name in NATIVE.items()}

    def many() -> None:
        for _ in range(500):
            os.chroot("/")
        asks()

    pid = run(spawn, many)
    found = [row for row in tracked.counts() if row["call"] == numbers["chroot"]]

    assert [(row["pid"], row["capability"], row["count"], row["denied"]) for row in found] == [
        (pid, SYS_CHROOT, 502, 1)
    ]
    assert len(tracked.rows()) == 0


def test_what_an_overlay_does_as_its_mounter_is_not_the_processs_own(
    track: Any, spawn: Any, tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("lower", "upper", "work", "merged")}
    for place in places.values():
        place.mkdir(mode=0o755)
    (places["lower"] / "file").write_text("x")
    options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**places)
    command = ["mount", "-t", "overlay", "overlay", "-o", options, places["merged"]]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs overlayfs")

    def writes() -> None:
        os.chmod(places["merged"], 0o777)  # as root, before it is nobody
        folder = os.open(places["merged"], os.O_RDONLY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os.mkdir("made", dir_fd=folder)
        os.rename("lower", "moved", src_dir_fd=folder, dst_dir_fd=folder)

    (places["lower"] / "lower").mkdir(mode=0o777)
    try:
        tracked = track("capable", others=True)
        run(spawn, writes)
        batch = tracked.rows()
    finally:
        subprocess.run(["umount", places["merged"]], check=True)
    own = [bool(value) for value in batch.fixed["own"].tolist()]
    rows = list(zip(batch.text("capability"), own, strict=True))

    assert ("CAP_SETUID", True) in rows
    assert any(not is_own for _, is_own in rows)


def test_a_call_of_a_32_bit_program_is_named_as_any(track: Any, spawn: Any, old_call: Any) -> None:
    chroot, settimeofday = 61, 79
    tracked = track("capable")

    run(spawn, lambda: (old_call(chroot, b"/"), old_call(settimeofday, 0, 0)))

    assert ("CAP_SYS_CHROOT", "chroot", True) in told(tracked)
    assert {call for _, call, _ in told(tracked)} <= {"chroot", "settimeofday"}
