# SPDX-License-Identifier: Apache-2.0
"""Profiles in files: as a base, as versions of an object, and beside each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli import profiles
from eunomia_agent.cli.comparison import compare
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.learning.calls import ARCHITECTURE
from eunomia_agent.learning.libseccomp import compile_profile
from eunomia_api.profile import ABIS, allowed_names, profile
from eunomia_api.seccomp import ProfileVersion

ALLOW, LOG = "SCMP_ACT_ALLOW", "SCMP_ACT_LOG"
INET = {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}
SOCKET = {"names": ["socket", "bind"], "action": ALLOW, "args": [INET]}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(name: str, rules: list[Any], **more: Any) -> str:
        path = tmp_path / name
        whole = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules, **more}
        path.write_text(json.dumps(whole))
        return str(path)

    return write


def allow(*names: str) -> dict[str, Any]:
    return {"names": [*names], "action": ALLOW}


def test_of_a_base_its_conditions_are_kept_but_for_what_is_allowed_anyway(written: Any) -> None:
    kill = {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"}
    basis = profiles.basis(written("ours.json", [allow("chmod", "clone3"), SOCKET, kill]))
    made = profile(["bind"], ABIS[ARCHITECTURE], allow=basis.calls, rules=basis.rules)

    assert {"bind", "chmod", "clone3"} <= set(made["syscalls"][0]["names"])
    assert {**SOCKET, "names": ["socket"]} in made["syscalls"]
    assert "reboot" not in str(made)
    assert "SCMP_ACT_ERRNO" not in {rule["action"] for rule in made["syscalls"]}
    assert compile_profile(made)


def test_what_is_logged_is_called_all_the_same(written: Any) -> None:
    log = {"names": ["chmod"], "action": LOG}
    socket = {**SOCKET, "action": LOG}
    basis = profiles.basis(written("ours.json", [allow("read"), log, socket]))
    assert (basis.calls, basis.rules) == ({"read", "chmod"}, (SOCKET,))

    kill = {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"}
    borne = profiles.borne(profiles.checked(written("logs.json", [kill], defaultAction=LOG)))
    assert {"read", "mount"} <= borne
    assert "reboot" not in borne


@pytest.mark.parametrize(
    "whole",
    [
        {"archMap": []},
        {"syscalls": [{**allow("bpf"), "includes": {"caps": ["CAP_BPF"]}}]},
        {"syscalls": [{**allow("bpf"), "excludes": {"caps": ["CAP_BPF"]}}]},
    ],
)
@pytest.mark.parametrize("command", [profiles.read, profiles.checked, profiles.basis])
def test_a_template_of_dockers_is_refused_wherever_a_profile_is_read(
    written: Any, whole: Any, command: Any
) -> None:
    with pytest.raises(CommandError, match=r"default.json: is a template of Docker's"):
        command(written("default.json", [allow("read")], **whole))


def test_a_profile_that_docker_made_of_its_template_is_none(written: Any) -> None:
    rule = {**allow("read"), "includes": {}, "excludes": {}, "comment": ""}
    assert profiles.allowed(profiles.checked(written("made.json", [rule]))) == {"read"}


def test_what_runtimes_do_as_a_file_is_the_same_as_by_its_name(written: Any) -> None:
    own = profile([], ABIS[ARCHITECTURE], base="RuntimeDefault")
    basis = profiles.basis(written("default.json", own["syscalls"]))

    again = profile([], ABIS[ARCHITECTURE], allow=basis.calls, rules=basis.rules)
    assert json.dumps(again, sort_keys=True) == json.dumps(own, sort_keys=True)
    assert profiles.basis("RuntimeDefault") == profiles.Basis("RuntimeDefault")


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"defaultAction": ALLOW}, "lets pass whatever it does not name"),
        ({"defaultAction": LOG}, "lets pass whatever it does not name"),
        ({"syscalls": [{"names": ["bpf"]}]}, "action None is not known"),
        ({"syscalls": "bpf"}, "syscalls are no list"),
    ],
)
def test_what_can_be_no_base_is_refused(written: Any, whole: Any, message: str) -> None:
    path = written("wrong.json", [], **whole)
    with pytest.raises(CommandError, match=message) as refused:
        profiles.basis(path)
    assert "wrong.json" in str(refused.value)


def version(name: str, *calls: str, **more: Any) -> Any:
    told = ProfileVersion(version=name, syscalls=[*calls], architectures=["SCMP_ARCH_X86_64"])
    return {**told.model_dump(mode="json", by_alias=True), **more}


MADE_OF = {
    "pods": ["web-1", "web-2"],
    "runs": 4,
    "since": "2026-01-01T00:00:00Z",
    "until": "2026-01-02T00:00:00Z",
}


@pytest.fixture
def exported(tmp_path: Path) -> str:
    """A SeccompProfile as kubectl writes it."""
    history = [
        version("v2", "read", "openat", base="RuntimeDefault"),
        version("v1", "read", "chroot", base="None", baseSyscalls=["mount"], provenance=MADE_OF),
    ]
    spec = {"version": "v2", "syscalls": ["read", "openat"], "architectures": ["SCMP_ARCH_X86_64"]}
    body = {
        "apiVersion": "eunomia.dev/v1alpha1",
        "kind": "SeccompProfile",
        "metadata": {"name": "guard-web"},
        "spec": spec | {"base": "RuntimeDefault"},
        "status": {"history": history},
    }
    path = tmp_path / "guard-web.json"
    path.write_text(json.dumps(body))
    return str(path)


def test_two_versions_of_a_profile_are_compared(exported: str) -> None:
    found = compare(f"{exported}:v1", f"{exported}:v2")
    assert {"openat", "chmod", "personality"} <= set(found.added)
    assert found.removed == ["chroot", "mount"]
    assert found.differ
    assert found.as_text().splitlines()[:4] == [
        "--- of 4 runs, seen from 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z, of web-1, web-2",
        *("- chroot", "- mount", "+ _llseek"),
    ]
    told = json.loads(found.as_json())
    assert (told["removed"], told["provenance"]) == (
        ["chroot", "mount"],
        {"old": MADE_OF, "new": None},
    )

    assert not compare(f"{exported}:v2", exported).differ
    assert compare(f"{exported}:v2", exported).as_text() == ""
    assert "mount" in allowed_names(profiles.read(f"{exported}:v1"))
    with pytest.raises(CommandError, match="there is no version v9; there are: v2, v1"):
        profiles.read(f"{exported}:v9")


def test_a_profile_that_was_not_applied_is_not_read_without_its_base(
    tmp_path: Path, exported: str
) -> None:
    body = json.loads(Path(exported).read_text())
    body["spec"] |= {"version": "v3", "baseProfileName": "ours"}
    path = tmp_path / "mine.json"

    path.write_text(json.dumps(body))
    with pytest.raises(CommandError, match=r"mine.json: what its base ours allows is not in the"):
        profiles.read(str(path))
    body["status"]["history"].insert(0, version("v3", "read", baseSyscalls=["mount"]))
    path.write_text(json.dumps(body))
    assert "mount" in allowed_names(profiles.read(str(path)))


def test_conditions_abis_and_what_becomes_of_the_rest_are_compared(written: Any) -> None:
    old = written("old.json", [SOCKET, allow("read")], architectures=["SCMP_ARCH_X86_64"])
    unix = {**SOCKET, "args": [{**INET, "value": 1}]}
    new = written("new.json", [allow("read"), unix], defaultAction="SCMP_ACT_TRAP")

    assert compare(old, new).as_text().splitlines() == [
        "~ bind, with other arguments",
        "~ socket, with other arguments",
        "architectures: SCMP_ARCH_X86_64 -> -",
        "any other call: SCMP_ACT_ERRNO -> SCMP_ACT_TRAP",
    ]


def refuse(name: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": action, **more}


def test_what_becomes_of_what_is_refused_is_compared_too(written: Any) -> None:
    old = written("old.json", [allow("read"), refuse("clone3", errnoRet=38), refuse("acct")])
    rules = [allow("read"), refuse("mount", "SCMP_ACT_KILL"), refuse("bpf", LOG), allow("acct")]
    found = compare(old, written("new.json", rules))
    assert found.as_text().splitlines() == [
        "+ acct",
        "+ bpf",
        "~ clone3: SCMP_ACT_ERRNO (ENOSYS) -> SCMP_ACT_ERRNO",
        "~ mount: SCMP_ACT_ERRNO -> SCMP_ACT_KILL_THREAD",
    ]
    assert json.loads(found.as_json())["changed"] == ["clone3", "mount"]


def test_the_error_of_all_other_calls_and_a_word_in_the_log_are_differences(written: Any) -> None:
    old, new = written("old.json", [allow("read")]), written("new.json", [refuse("read", LOG)])
    assert compare(old, new).as_text() == "~ read: SCMP_ACT_ALLOW -> SCMP_ACT_LOG"
    new = written("absent.json", [allow("read")], defaultErrnoRet=38)
    told = "any other call: SCMP_ACT_ERRNO -> SCMP_ACT_ERRNO (ENOSYS)"
    assert compare(old, new).as_text() == told


def test_one_thing_said_in_two_ways_is_no_difference(written: Any) -> None:
    whole = {**INET, "valueTwo": 0}
    rules = [SOCKET, allow("read"), refuse("acct", "SCMP_ACT_KILL")]
    other = [
        *({**SOCKET, "names": [name], "args": [whole]} for name in SOCKET["names"]),
        *({**allow("read"), "args": [INET]}, allow("read"), refuse("mount", errnoRet=1)),
        refuse("acct", "SCMP_ACT_KILL_THREAD"),
    ]
    same = written("new.json", other, defaultErrnoRet=1)
    assert not compare(written("old.json", rules), same).differ


def test_a_file_that_is_no_object_has_no_versions(written: Any, tmp_path: Path) -> None:
    path = written("plain.json", [allow("read")])
    with pytest.raises(CommandError, match="has no version v1"):
        profiles.read(f"{path}:v1")
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps({"kind": "SeccompProfile", "metadata": {}, "spec": {}}))
    with pytest.raises(CommandError, match=r"odd.json: spec.architectures: Field required"):
        profiles.read(str(odd))
