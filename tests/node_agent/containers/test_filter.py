# SPDX-License-Identifier: Apache-2.0
"""The profile that a container really runs under, as containerd and CRI-O tell it."""

import json
from typing import Any

import pytest

from eunomia_agent.containers.cri import CriClient
from eunomia_agent.containers.filter import profile_in

FILTER: Any = {"defaultAction": "SCMP_ACT_ERRNO"}
PATH = "eunomia/shop/web-nginx.json"
WHOLE = f"/var/lib/kubelet/seccomp/{PATH}"
CRIO = "io.kubernetes.cri-o.SeccompProfilePath"
UID = "0f8a6b0e-1c2d-4e3f-8a9b-0123456789ab"


def containerd(profile_type: int, ref: str = "", *, on: bool = True) -> str:
    asked = {"profile_type": profile_type, "localhost_ref": ref}
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
    ("info", "worn"),
    [
        (containerd(2, WHOLE), PATH),
        (containerd(2, "/data/kubelet/seccomp/eunomia/a/b.json"), "eunomia/a/b.json"),
        (containerd(2, WHOLE, on=False), ""),  # privileged: the runtime put no filter on
        (containerd(2, "/var/lib/kubelet/seccomp/mine.json"), ""),
        (containerd(2, "/var/lib/kubelet/seccomp/mine/eunomia/shop/web.json"), ""),
        (containerd(2, f"{WHOLE}/../../../none.json"), ""),
        (containerd(0), ""),
        (containerd(1, WHOLE), ""),
        (crio(WHOLE), PATH),
        (crio(WHOLE, on=False), ""),
        (crio("RuntimeDefault"), ""),
        ("{}", None),
        ("[1]", None),
        ("", None),
        ("[" * 100_000, None),
        (json.dumps({"runtimeSpec": {"linux": {"seccomp": FILTER}, "annotations": 3}}), ""),
    ],
)
def test_only_a_filter_that_is_on_and_of_our_file_is_worn(info: str, worn: str | None) -> None:
    assert profile_in(info) == worn


async def test_a_real_containerd_tells_what_each_container_wears(containerd: Any) -> None:
    path = containerd.folder / "seccomp" / PATH
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}))
    sandbox = await containerd.run_pod("shop", "web-0", UID, {})
    client = CriClient(containerd.socket)
    try:
        told = {
            name: await client.profile(await containerd.run_container(sandbox, name, **asked))
            for name, asked in {
                "ours": {"profile": str(path)},
                "default": {"profile": ""},
                "bare": {},
            }.items()
        }
        assert told == {"ours": PATH, "default": "", "bare": ""}
        assert await client.profile("f" * 64) is None
    finally:
        await client.close()
