# SPDX-License-Identifier: Apache-2.0
"""Policies that deny: the call fails, who made it lives on, and the alert says so.

`make kernels` runs this where BPF has a part in the kernel's security.
"""

import ctypes
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eunomia_agent.kernel import hooks
from eunomia_agent.kernel.libbpf import library
from eunomia_api import agent_pb2
from eunomia_api.library import Library
from eunomia_api.tracker import Catalogue

CATALOGUE = Catalogue.load().trackers
LACKING = hooks.missing("lsm/file_open") if os.geteuid() == 0 else None
pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
refuses = pytest.mark.skipif(
    LACKING is not None, reason=f"needs a kernel with BPF's security hooks: {LACKING}"
)
DENYING = sorted({"access", "execution", "tcp"} & {each.name for each in CATALOGUE if each.denies})
TRY = """
import os, socket, subprocess, sys
what, subject = sys.argv[1:]
try:
    if what == "access":
        os.close(os.open(subject, os.O_RDONLY))
    elif what == "execution":
        subprocess.run([subject], check=True)
    else:
        socket.create_connection(("127.0.0.1", int(subject))).close()
except OSError as error:
    print(error.errno)
else:
    print(0)
"""


class Deed(NamedTuple):
    """What a rule denies: done to one subject, and not to another. tracker: who tells of it."""

    tracker: str
    when: str
    denied: str
    allowed: str


class Breach:
    """A policy of one rule, and processes that break it."""

    def __init__(self, policy: Any, deed: Deed) -> None:
        self.policy = policy
        self.deed = deed

    def apply(self, answer: str = "Deny", **changes: Any) -> None:
        """Bring the node in line with the policy."""
        rule = {
            "name": "rule",
            "severity": "alert",
            "events": [self.deed.tracker],
            "when": self.deed.when,
            "message": "{comm}",
            "response": answer,
            "deduplicate": "0s",
        }
        self.policy.apply({"custom": [rule]}, Library({}), **changes)

    def attempt(self, subject: str = "", cgroup: Path | None = None) -> int:
        """Return the error with which a process's attempt ends."""
        subject = subject or self.deed.denied
        (error,) = self.policy.run(cgroup or self.policy.pod, TRY, self.deed.tracker, subject)
        return int(error)

    def report(self, part: str) -> agent_pb2.PolicyReport:
        told: agent_pb2.PolicyReport = self.policy.reports()[f"p{part}"].policy
        return told


def programs() -> set[int]:
    """Return the ids of all programs in the kernel, whoever loaded them: bpftool(8) lists them."""
    found, number = set[int](), ctypes.c_uint32(0)
    while library().bpf_prog_get_next_id(number, ctypes.byref(number)) == 0:
        found.add(number.value)
    return found


@pytest.fixture
def deed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deed]:
    """Reads a file, runs one, or connects to a port."""
    secret, other = tmp_path / "secret", tmp_path / "other"
    for path in (secret, other):
        shutil.copy("/bin/true", path)
    with (
        socket.create_server(("127.0.0.1", 0)) as denied,
        socket.create_server(("127.0.0.1", 0)) as allowed,
    ):
        port = denied.getsockname()[1]
        yield {
            "access": Deed(
                "access", f'kind == "open" && path == "{secret}"', str(secret), str(other)
            ),
            "execution": Deed("execution", f'path == "{secret}"', str(secret), str(other)),
            "tcp": Deed(
                "tcp",
                f'kind == "connect" && dport == {port}',
                str(port),
                str(allowed.getsockname()[1]),
            ),
            "access, by more than one column": Deed(
                "access",
                'kind == "open" && (path.endsWith("/secret") || filesystem_path == "/none")'
                ' && !(writing || exe == "/bin/none" && exe_in_image || path == "/x/secret")',
                str(secret),
                str(other),
            ),
            "execution, by more than one column": Deed(
                "execution",
                'path.endsWith("/secret") && (args[0] == "none" || args.exists(a, a =='
                ' "--none" || a.contains("/secret"))) || cwd == "/none"',
                str(secret),
                str(other),
            ),
            "tcp, by more than one column": Deed(
                "tcp",
                f'kind == "connect" && (dport == {port} || daddr == "192.0.2.1")'
                ' && daddr.startsWith("127.")',
                str(port),
                str(allowed.getsockname()[1]),
            ),
        }[request.param]


@pytest.fixture
def breach(policy: Any, deed: Deed) -> Breach:
    return Breach(policy, deed)


@refuses
@pytest.mark.parametrize(
    "deed", [*DENYING, *(f"{each}, by more than one column" for each in DENYING)], indirect=True
)
def test_what_breaks_the_rule_is_refused_and_told_until_the_policy_goes(
    breach: Breach, box: Any
) -> None:
    before = programs()
    breach.apply()
    assert breach.attempt() == errno.EPERM
    assert breach.attempt(breach.deed.allowed) == 0
    assert breach.attempt(cgroup=breach.policy.other) == 0

    denies, observes = breach.report("/deny/rule"), breach.report("")
    assert (denies.denied, denies.killed, denies.alerts, observes.alerts) == (1, 0, 1, 0)
    (alert,) = box.alerts
    assert (alert.policy_uid, alert.rule, alert.response) == ("p", "rule", "Denied")
    assert alert.pod == f"pod-{breach.policy.pod.name}"
    assert json.loads(alert.evidence).get("error", "EPERM") == "EPERM"

    breach.apply("Report")
    assert breach.attempt() == 0
    breach.report("")
    assert [each.response for each in box.alerts] == ["Denied", ""]

    breach.policy.delete()
    # The node's own first program, as with the last job of an agent.
    breach.policy.world.chain.close()
    deadline = time.monotonic() + 30
    while programs() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert programs() - before == set()


@refuses
@pytest.mark.parametrize("deed", ["access"], indirect=True)
def test_nothing_is_refused_in_a_dry_run_nor_when_the_operator_was_silent_for_too_long(
    breach: Breach, box: Any
) -> None:
    breach.apply(mode="DryRun")
    assert breach.attempt() == 0
    breach.report("")
    assert [(each.response, each.dry_run) for each in box.alerts] == [("", True)]

    breach.apply(response={"whenDisconnected": "1h"})
    breach.policy.world.tracing.silent_for(3601)
    assert breach.attempt() == 0
    breach.policy.world.tracing.silent_for(0)
    assert breach.attempt() == errno.EPERM
    assert breach.report("/deny/rule").denied == 1
    assert [each.response for each in box.alerts] == ["", "", "Denied"]


@pytest.mark.skipif(LACKING is None, reason="needs a kernel without BPF's security hooks")
@pytest.mark.parametrize("deed", ["access"], indirect=True)
def test_where_the_kernel_cannot_refuse_the_rule_is_reported_and_the_policy_goes_on(
    breach: Breach, box: Any
) -> None:
    breach.apply()
    assert breach.attempt() == 0
    assert breach.report("").alerts == 1
    assert [each.response for each in box.alerts] == [""]
    reports = breach.policy.reports()
    told = reports["p/deny/rule"]
    assert (told.state, told.reason) == (agent_pb2.JOB_STATE_UNSUPPORTED, "DenyUnsupported")
    assert told.message.startswith("access cannot deny here: lsm/file_open: ")
    assert reports["p"].state == agent_pb2.JOB_STATE_RUNNING
