# SPDX-License-Identifier: Apache-2.0
"""The client and container runtimes: what holds of the fake one holds of the real one."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from eunomia_agent.containers import cri_pb2
from eunomia_agent.containers.cri import CriClient
from eunomia_agent.containers.index import Index
from eunomia_agent.containers.owner import Owner
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnreadable, RuntimeUnsupported

UID = "0f8a6b0e-1c2d-4e3f-8a9b-0123456789ab"
LABELS = {"app": "web", "example.com/team": ""}
PACKAGES = Path(__file__).parents[3] / "node_agent"


@pytest.fixture(params=["fake_cri", "containerd"])
def cri(request: pytest.FixtureRequest):
    """Each runtime in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def client(cri) -> AsyncIterator[CriClient]:
    client = CriClient(cri.socket)
    yield client
    await client.close()


async def test_pod_and_container_are_told_with_labels(cri, client: CriClient) -> None:
    sandbox_id = await cri.run_pod("shop", "web-0", UID, LABELS)
    web = await cri.run_container(sandbox_id, "nginx")
    found = await client.container(web)
    assert found
    assert (found.id, found.name, found.problem) == (web, "nginx", "")
    sandbox = found.sandbox
    assert (sandbox.id, sandbox.namespace, sandbox.pod, sandbox.pod_uid, sandbox.problem) == (
        sandbox_id,
        "shop",
        "web-0",
        UID,
        "",
    )
    assert sandbox.labels == LABELS, "the pod's own, without those of the kubelet"
    assert await client.sandbox(sandbox_id) is sandbox, "one pod is held once"
    assert [each.id for each in await client.containers()] == [web]
    assert [each.id for each in await client.sandboxes()] == [sandbox_id]


async def test_sandbox_is_no_container_and_an_unknown_id_is_neither(cri, client: CriClient) -> None:
    sandbox_id = await cri.run_pod("shop", "web-0", UID, LABELS)
    web = await cri.run_container(sandbox_id, "nginx")
    assert await client.container(sandbox_id) is None
    assert await client.sandbox(web) is None
    assert await client.container("f" * 64) is None
    assert await client.sandbox("f" * 64) is None
    assert await client.container(web[:12]) is None, "only a whole id is an answer"


async def test_container_that_has_ended_is_still_told(cri, client: CriClient) -> None:
    sandbox_id = await cri.run_pod("shop", "batch", UID, LABELS)
    short = await cri.run_container(sandbox_id, "job", "end")
    await asyncio.sleep(0.3)
    found = await client.container(short)
    assert found
    assert found.name == "job"


async def test_client_finds_a_runtime_that_was_restarted(cri, client: CriClient) -> None:
    sandbox_id = await cri.run_pod("shop", "web-0", UID, LABELS)
    assert await client.sandboxes()
    await cri.stop()
    with pytest.raises(RuntimeUnavailable, match="did not answer ListPodSandbox"):
        await client.sandboxes()
    await cri.start()
    told: list[str] = []
    async with asyncio.timeout(10):
        while not told:
            with suppress(RuntimeUnavailable):
                told = [each.id for each in await client.sandboxes()]
            await asyncio.sleep(0.05)
    assert told == [sandbox_id]


async def test_runtime_that_hangs_is_left_after_the_timeout(fake_cri) -> None:
    client = CriClient(fake_cri.socket, timeout=0.1)
    fake_cri.delay = 5.0
    with pytest.raises(RuntimeUnavailable, match="DEADLINE_EXCEEDED"):
        await client.container("f" * 64)
    fake_cri.delay = 0.0
    assert await client.container("f" * 64) is None
    await client.close()


async def test_socket_without_the_service_is_told_apart(fake_cri) -> None:
    client = CriClient(fake_cri.socket)
    with pytest.raises(RuntimeUnsupported, match="does not speak CRI version 1"):
        await client._call("Status", cri_pb2.ContainerFilter(), cri_pb2.ContainerFilter.FromString)
    await client.close()


async def test_hostile_metadata_spoils_no_other(fake_cri) -> None:
    client = CriClient(fake_cri.socket)
    good = await fake_cri.run_pod("shop", "web-0", UID, LABELS)
    fat = await fake_cri.run_pod("shop", "fat", UID, {"a": "x" * (2 << 20)})
    long = await fake_cri.run_pod("shop", "p" * 254, UID, {})
    inside = [await fake_cri.run_container(pod, "c") for pod in (good, fat, long)]
    odd = await fake_cri.run_container(good, "c" * 254)

    problems = {each.id: each.problem for each in await client.containers()}
    assert problems == {
        inside[0]: "",
        inside[1]: "labels of more than 1048576 bytes",
        inside[2]: "a name of pod of 254 characters; at most 253",
        odd: "a name of container of 254 characters; at most 253",
    }
    sandboxes = {each.id: each for each in await client.sandboxes()}
    assert sandboxes[good].labels == LABELS
    assert sandboxes[fat].labels == {}
    assert sandboxes[fat].pod == ""
    await client.close()


async def test_text_that_is_not_utf8_makes_one_unknown_and_hurts_no_other(
    fake_cri, client_of, tmp_path: Path
) -> None:
    client = client_of(fake_cri)
    good = await fake_cri.run_pod("shop", "web-0", UID, LABELS)
    odd = await fake_cri.run_pod("shop", "spoilt", UID, LABELS)
    with pytest.raises(RuntimeUnreadable, match="ListPodSandbox with what cannot be read"):
        await client.sandboxes()
    for sandbox_id in (good, odd):
        (tmp_path / "kubepods" / f"pod{UID}" / sandbox_id).mkdir(parents=True)
    told: dict[str, Owner] = {}
    index = Index(
        client,
        root=tmp_path,
        on_change=lambda owner: told.update({owner.container_id: owner}),
        on_gone=lambda _: None,
    )
    await index.start()
    async with asyncio.timeout(5):
        while any(owner.kind == "pending" for owner in told.values()):
            await asyncio.sleep(0.01)
    assert (told[good].kind, told[good].pod) == ("sandbox", "web-0")
    assert told[odd].kind == "unknown"
    assert "answered ListPodSandbox with what cannot be read" in told[odd].reason
    await index.close()


async def test_answer_of_more_than_16_mib_is_no_answer(fake_cri) -> None:
    client = CriClient(fake_cri.socket)
    good = await fake_cri.run_pod("shop", "web-0", UID, LABELS)
    await fake_cri.run_pod("shop", "fat", UID, {"a": "x" * (17 << 20)})
    with pytest.raises(RuntimeUnavailable, match="RESOURCE_EXHAUSTED"):
        await client.sandboxes()
    assert (await client.sandbox(good)).pod == "web-0"
    await client.close()


async def test_real_containers_have_their_owners_by_cgroup_id(
    containerd, client_of, hierarchy: Path
) -> None:
    uid = f"0f8a6b0e-1c2d-4e3f-8a9b-{os.getpid():012x}"
    before_pod = await containerd.run_pod("shop", "web-0", uid, LABELS)
    before = await containerd.run_container(before_pod, "nginx")
    said: list[Owner] = []
    index = Index(
        client_of(containerd), root=hierarchy, on_change=said.append, on_gone=lambda _: None
    )
    await index.start()

    def cgroup_id(container_id: str) -> int:
        return next(hierarchy.glob(f"*/kubepods/pod{uid}/{container_id}")).stat().st_ino

    later = await containerd.run_container(before_pod, "sidecar")
    index.rescan_soon()

    def told() -> dict[str, Owner]:
        return {owner.container_id: owner for owner in said if owner.container_id}

    async with asyncio.timeout(5):
        while later not in told() or told()[later].kind != "container":
            await asyncio.sleep(0.02)
    assert told()[before_pod].kind == "sandbox"
    image = told()[before].image
    assert told()[before] == Owner(
        cgroup_id(before), "container", "shop", "web-0", uid, "nginx", before, LABELS, image=image
    )
    assert image.startswith("sha256:"), "as the kubelet asks for it"
    assert (told()[later].cgroup_id, told()[later].container) == (cgroup_id(later), "sidecar")
    await index.close()


@pytest.fixture
async def client_of():
    clients: list[CriClient] = []

    def make(cri) -> CriClient:
        clients.append(CriClient(cri.socket))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def test_committed_messages_are_those_of_the_proto_file(tmp_path: Path) -> None:
    proto = "eunomia_agent/containers/cri.proto"
    out = tmp_path / "descriptors"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PACKAGES}", f"-o{out}", proto], check=True
    )
    fresh = FileDescriptorSet.FromString(out.read_bytes()).file[0]
    committed = FileDescriptorProto.FromString(cri_pb2.DESCRIPTOR.serialized_pb)
    for message in fresh.message_type:
        for each in (*message.field, *(f for m in message.nested_type for f in m.field)):
            each.ClearField("json_name")  # protoc adds it to what it writes for programs
    assert committed == fresh, (
        "make it anew: python -m grpc_tools.protoc -Inode_agent --python_out=node_agent "
        f"--pyi_out=node_agent {proto}"
    )
