# SPDX-License-Identifier: Apache-2.0
"""What a container really may do, as containerd and CRI-O tell it."""

import json
from typing import Any

import pytest

from eunomia_agent.containers.confinement import Confinement, confinement_in
from eunomia_agent.containers.cri import CriClient

FILTER: Any = {"defaultAction": "SCMP_ACT_ERRNO"}
PATH = "eunomia/shop/web-nginx.json"
WHOLE = f"/var/lib/kubelet/seccomp/{PATH}"
CRIO = "io.kubernetes.cri-o.SeccompProfilePath"
UID = "0f8a6b0e-1c2d-4e3f-8a9b-0123456789ab"


def containerd(profile_type: int | None, ref: str = "", *, on: bool = True) -> str:
    """As Go writes it: without what is 0. profile_type None: nothing was asked for."""
    asked: Any = {"profile_type": profile_type, "localhost_ref": ref}
    asked = {key: value for key, value in asked.items() if value}
    if profile_type is None:
        asked = None
    return json.dumps(
        {
            "config": {"linux": {"security_context": {"seccomp": asked}}},
            "runtimeSpec": {"linux": {"seccomp": FILTER if on else None}},
        }
    )


def crio(path: str, *, on: bool = True) -> str:
    spec = {"annotations": {CRIO: path}, "linux": {"seccomp": FILTER} if on else {}}
    return json.dumps({"pid": 7, "runtimeSpec": spec, "privileged": not on})


@pytest.mark.parametrize(
    ("info", "worn", "base"),
    [
        (containerd(2, WHOLE), PATH, f"Localhost/{PATH}"),
        (
            containerd(2, "/data/kubelet/seccomp/eunomia/a/b.json"),
            "eunomia/a/b.json",
            "Localhost/eunomia/a/b.json",
        ),
        # privileged: the runtime put no filter on
        (containerd(2, WHOLE, on=False), "", "Unconfined"),
        (containerd(2, "/var/lib/kubelet/seccomp/mine.json"), "", "Localhost/mine.json"),
        (
            containerd(2, "/var/lib/kubelet/seccomp/mine/eunomia/shop/web.json"),
            "",
            "Localhost/mine/eunomia/shop/web.json",
        ),
        (
            containerd(2, f"{WHOLE}/../../../none.json"),
            "",
            f"Localhost/{PATH}/../../../none.json",
        ),
        (containerd(2, "/etc/mine.json"), "", "Filtered"),
        (containerd(0), "", "RuntimeDefault"),
        (containerd(0, on=False), "", "Unconfined"),
        (containerd(1, WHOLE), "", "Filtered"),
        (containerd(None), "", "Filtered"),
        (crio(WHOLE), PATH, f"Localhost/{PATH}"),
        (crio(WHOLE, on=False), "", "Unconfined"),
        (crio("RuntimeDefault"), "", "RuntimeDefault"),
        (
            json.dumps({"runtimeSpec": {"linux": {"seccomp": FILTER}, "annotations": 3}}),
            "",
            "Filtered",
        ),
    ],
)
def test_a_filter_that_is_on_has_the_name_by_which_it_was_asked_for(
    info: str, worn: str, base: str
) -> None:
    found = confinement_in(info)
    assert found is not None
    assert (found.profile, found.base) == (worn, base)


@pytest.mark.parametrize("info", ["{}", "[1]", "", "[" * 100_000, '{"runtimeSpec": 1}'])
def test_what_cannot_be_read_says_nothing(info: str) -> None:
    assert confinement_in(info) is None


@pytest.mark.parametrize(
    ("process", "has"),
    [
        ({"capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"]}}, {"CAP_CHOWN", "CAP_KILL"}),
        ({"capabilities": {}}, set()),  # as Go writes a list without any
        ({"capabilities": {"bounding": ["CAP_KILL", "rm -rf", 7]}}, {"CAP_KILL"}),
        ({"capabilities": {"bounding": 7}}, None),
        ({"capabilities": None}, None),
        ({}, None),
    ],
)
def test_having_no_capability_is_not_the_same_as_not_being_told(
    process: Any, has: set[str] | None
) -> None:
    found = confinement_in(json.dumps({"runtimeSpec": {"process": process}}))
    assert found is not None
    assert found.capabilities == has
    assert Confinement.restored(json.loads(json.dumps(found.saved()))) == found


async def test_a_real_containerd_tells_what_each_container_wears_and_has(containerd: Any) -> None:
    path = containerd.folder / "seccomp" / PATH
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}))
    sandbox = await containerd.run_pod("shop", "web-0", UID, {})
    client = CriClient(containerd.socket)
    try:
        told = {
            name: await client.confinement(await containerd.run_container(sandbox, name, **asked))
            for name, asked in {
                "ours": {"profile": str(path)},
                "default": {"profile": "", "drop": ("ALL",), "add": ("KILL",)},
                "none": {"drop": ("ALL",)},
                "strong": {"add": ("SYS_ADMIN",)},
                "privileged": {"privileged": True, "profile": "", "drop": ("ALL",)},
            }.items()
        }
        default = told["ours"].capabilities
        everything = told["privileged"].capabilities
        assert len(default) == 14
        assert len(everything) > 35, "privileged, and drops nothing, whatever it says"
        assert told == {
            "ours": Confinement(PATH, f"Localhost/{PATH}", default, False),
            "default": Confinement("", "RuntimeDefault", frozenset({"CAP_KILL"}), False),
            "none": Confinement("", "Unconfined", frozenset(), False),
            "strong": Confinement("", "Unconfined", default | {"CAP_SYS_ADMIN"}, False),
            "privileged": Confinement("", "Unconfined", everything, True),
        }
        assert await client.confinement("f" * 64) is None
    finally:
        await client.close()
