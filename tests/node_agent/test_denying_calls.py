# SPDX-License-Identifier: Apache-2.0
"""Built-in rules about system calls that deny: the call fails, the alert says so, others go on."""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.errors import DenyNotInKernel
from eunomia_agent.events import names
from eunomia_agent.jobs.conditions import Conditions
from eunomia_agent.kernel import hooks
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_agent.trackers.catalogue import Catalogue as AgentCatalogue
from eunomia_agent.trackers.denying import chosen
from eunomia_agent.trackers.key import Enforcement, Key
from eunomia_agent.trackers.pushdown import variables
from eunomia_api.library import built_in
from eunomia_api.message import rule_message

if not (OBJECTS / "privileged.bpf.o").exists():
    pytest.skip("needs the objects that the build compiles", allow_module_level=True)

LACKING = hooks.missing("lsm/bpf") if os.geteuid() == 0 else None
TRACKER = AgentCatalogue.load().trackers["privileged"]
BTF = Btf.of_object((OBJECTS / "privileged.bpf.o").read_bytes())

# ---- which rules can deny ----

REFUSED = {
    "container-escape/file-opened-by-handle": {"file_open"},
    "container-escape/host-namespace-entered": {"capable"},
    "container-escape/kernel-module-loaded": {"kernel_load_data", "kernel_read_file"},
    "container-escape/other-container-manipulated": {"ptrace_access_check", "ptrace_traceme"},
    "container-escape/root-changed": {"path_chroot", "sb_pivotroot"},
    "container-escape/user-namespace-made": {"capable", "task_alloc", "userns_create"},
    "system-calls/accounting-changed": {"capable", "quotactl"},
    "system-calls/became-root": {"task_fix_setuid"},
    "system-calls/bpf-used": {"bpf"},
    "system-calls/clock-set": {"settime"},
    "system-calls/code-injected": {"ptrace_access_check", "ptrace_traceme"},
    "system-calls/detached-mount-made": {"capable", "move_mount"},
    "system-calls/io-uring-used": {"inode_init_security_anon"},
    "system-calls/kernel-log-read": {"syslog"},
    "system-calls/kernel-replaced": {"capable", "kernel_load_data", "kernel_read_file"},
    "system-calls/module-removed": {"capable"},
    "system-calls/page-faults-taken": {"inode_init_security_anon"},
    "system-calls/performance-events-used": {"perf_event_alloc"},
    "system-calls/ports-of-hardware-used": {"capable"},
    "system-calls/process-traced": {"ptrace_access_check", "ptrace_traceme"},
    "tampering/other-container-signalled": {"task_kill"},
}
REPORTED = {
    # no hook asks
    "system-calls/keyring-used",
    "system-calls/memory-file-made",
    # by arithmetic
    "system-calls/addresses-fixed",
}


def test_what_the_library_says_of_calls_can_be_denied_but_for_what_is_known() -> None:
    conditions = Conditions(TRACKER, BTF)
    refused: dict[str, set[str]] = {}
    for name, rule in built_in().rules.items():
        if rule.events != ["privileged"]:
            continue
        try:
            pushed, _ = conditions.of_enforced(rule_message(rule), Enforcement.DENY)
            asked = tuple(sorted(variables(pushed).items()))
            key = Key("privileged", (), 0, asked, enforcement=Enforcement.DENY)
            sections = chosen(TRACKER, key, BTF, {})
        except DenyNotInKernel:
            sections = frozenset()
        refused[name] = {section.removeprefix("lsm/") for section in sections}

    assert {name: hooks for name, hooks in refused.items() if hooks} == REFUSED
    assert {name for name, hooks in refused.items() if not hooks} == REPORTED


# ---- in the kernel ----


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")
refuses = pytest.mark.skipif(
    LACKING is not None, reason=f"needs a kernel with BPF's security hooks: {LACKING}"
)
CALLS = """
import ctypes, errno, os, struct, sys
rule, stranger = sys.argv[1], int(sys.argv[2])
numbers = eval(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(numbers[name]), *words)
    print(ctypes.get_errno())
if rule == "host-namespace-entered":
    call("setns", os.open(f"/proc/{stranger}/ns/uts", os.O_RDONLY), 0)
elif rule == "other-container-manipulated":
    buffer = ctypes.create_string_buffer(1)
    piece = struct.pack("=2Q", ctypes.addressof(buffer), 1)
    call("process_vm_readv", stranger, piece, 1, struct.pack("=2Q", 1 << 20, 1), 1, 0)
    call("ptrace", 0x4206, stranger, 0, 0)
elif rule == "code-injected":
    piece = struct.pack("=2Q", ctypes.addressof(ctypes.create_string_buffer(1)), 1)
    call("process_vm_writev", stranger, piece, 1, struct.pack("=2Q", 1 << 20, 1), 1, 0)
elif rule == "root-changed":
    call("chroot", b"/")
elif rule == "kernel-module-loaded":
    call("init_module", bytes(4096), 4096, b"")
elif rule == "user-namespace-made":
    call("unshare", 0x10000000)
elif rule == "bpf-used":
    call("bpf", 0, struct.pack("=4I", 2, 4, 4, 1).ljust(72, bytes(1)), 72)
elif rule == "other-container-signalled":
    call("kill", stranger, 0)
elif rule == "io-uring-used":
    call("io_uring_setup", 1, bytes(120))
"""
OTHERWISE = {
    # how the calls end where nothing refuses them
    "container-escape/host-namespace-entered": [0],
    "container-escape/other-container-manipulated": [errno.EFAULT, 0],
    "container-escape/kernel-module-loaded": [errno.ENOEXEC],
    "container-escape/root-changed": [0],
    "container-escape/user-namespace-made": [0],
    "system-calls/bpf-used": [0],
    "system-calls/code-injected": [errno.EFAULT],
    "system-calls/io-uring-used": [0],
    "tampering/other-container-signalled": [0],
}
assert OTHERWISE.keys() <= REFUSED.keys()


class Calls:
    """A policy of one built-in rule that denies, and processes that make its calls."""

    def __init__(self, policy: Any, stranger: int) -> None:
        self.policy = policy
        self.stranger = stranger

    def apply(self, rule: str) -> None:
        """Bring the node in line with the policy."""
        answers = dict.fromkeys(("event", "warning", "alert"), "Deny")
        self.policy.apply({"builtIn": [rule]}, built_in(), response=answers)

    def attempt(self, rule: str, cgroup: Path, user: int = 0) -> list[int]:
        """Return the errors with which a process's calls end."""
        numbers = repr({name: number for number, name in names.SYSCALLS.items()})
        words = (rule.split("/")[1], self.stranger, numbers)
        found: list[int] = self.policy.run(cgroup, CALLS, *words, user=user)
        return found


@pytest.fixture
def calls(policy: Any) -> Iterator[Calls]:
    stranger = os.fork()
    if not stranger:
        signal.pause()
        os._exit(0)
    yield Calls(policy, stranger)
    os.kill(stranger, signal.SIGKILL)
    os.waitpid(stranger, 0)


@pytest.mark.bpf
@as_root
@refuses
@pytest.mark.parametrize("rule", OTHERWISE)
def test_a_built_in_rule_refuses_what_it_is_about(calls: Calls, box: Any, rule: str) -> None:
    calls.apply(rule)

    assert calls.attempt(rule, calls.policy.other) == OTHERWISE[rule]
    assert calls.attempt(rule, calls.policy.pod) == [errno.EPERM] * len(OTHERWISE[rule])

    reports = calls.policy.reports()
    (denies,) = (each for uid, each in reports.items() if uid.startswith("p/deny/"))
    assert (denies.policy.denied, reports["p"].policy.alerts) == (len(OTHERWISE[rule]), 0)
    told = {(alert.rule, alert.response, alert.pod) for alert in box.alerts}
    assert told == {(rule, "Denied", f"pod-{calls.policy.pod.name}")}

    calls.policy.delete()
    assert calls.attempt(rule, calls.policy.pod) == OTHERWISE[rule]


@pytest.mark.bpf
@as_root
@refuses
def test_what_a_process_may_not_do_anyway_is_reported_as_an_attempt(calls: Calls, box: Any) -> None:
    """Who lacks the capability has failed before any rule is asked."""
    rule, nobody = "container-escape/kernel-module-loaded", 65534
    calls.apply(rule)

    assert calls.attempt(rule, calls.policy.pod, nobody) == [errno.EPERM]
    assert calls.attempt(rule, calls.policy.pod) == [errno.EPERM]
    calls.policy.reports()
    assert sorted((alert.rule, alert.response) for alert in box.alerts) == [
        (rule, ""),
        (rule, "Denied"),
    ]
