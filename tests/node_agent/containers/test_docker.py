# SPDX-License-Identifier: Apache-2.0
"""Containers of Docker and Podman: with pods and without, and engines that misbehave."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from eunomia_agent.containers.docker import MAX_ANSWER, DockerClient
from eunomia_agent.containers.index import Index
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnreadable, RuntimeUnsupported

IMAGE = "localhost/eunomia-test:1"
UID = "0f8a6b0e-1c2d-4e3f-8a9b-0123456789ab"
WEB, PAUSE, NGINX, PLAIN = "8d" * 32, "42" * 32, "43" * 32, "ad" * 32
DOCKER = (
    b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n"
    b"Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/20.10.24+dfsg1 (linux)\r\n"
    b"Date: Sat, 21 Nov 2026 08:35:10 GMT\r\n"
)
WITH_LINK = {
    "Id": WEB,
    "Names": ["/db/alias", "/web"],
    "Image": "nginx:1.27",
    "ImageID": "sha256:fd75b162116de357dd6d3ffcac6eecf4e4f489a4a5cbb675b6ced0bed0e687d7",
    "Command": "/program",
    "Created": 1795250110,
    "Ports": [],
    "Labels": {
        "app": "web",
        "com.docker.compose.project": "shop",
        "org.opencontainers.image.title": "test",
    },
    "State": "running",
    "Status": "Up Less than a second",
    "HostConfig": {"NetworkMode": "none"},
    "NetworkSettings": {"Networks": {"none": {"IPAMConfig": None, "IPPrefixLen": 0}}},
    "Mounts": [],
}
OF_PODMAN = {
    "Id": PLAIN,
    "Names": ["/pweb"],
    "Image": IMAGE,
    "ImageID": "sha256:7b66cdb777b8b5b5755a36e94e595b655f17283fa17f445f435187746d795d93",
    "Command": "",
    "Created": 1795250431,
    "Ports": [],
    "Labels": None,
    "State": "created",
    "Status": "Created",
    "NetworkSettings": {"Networks": None},
    "Mounts": [],
    "Name": "",
    "Config": None,
    "NetworkingConfig": None,
    "Platform": None,
    "AdjustCPUShares": False,
}
KUBELET = {
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": UID,
}
OF_A_POD = {
    "Id": PAUSE,
    "Names": [f"/k8s_POD_web-0_shop_{UID}_0"],
    "Image": "registry.k8s.io/pause:3.9",
    "Labels": {
        **KUBELET,
        "annotation.kubernetes.io/config.source": "api",
        "app": "web",
        "io.kubernetes.container.name": "POD",
        "io.kubernetes.docker.type": "podsandbox",
    },
}
IN_A_POD = {
    "Id": NGINX,
    "Names": [f"/k8s_nginx_web-0_shop_{UID}_0"],
    "Image": "nginx@sha256:abc",
    "Labels": {
        **KUBELET,
        "io.kubernetes.container.name": "nginx",
        "io.kubernetes.docker.type": "container",
        "io.kubernetes.sandbox.id": PAUSE,
    },
}


@dataclass
class Engine:
    """An engine that answers with what is there, or whatever it is told to.

    say: bytes to send for a list; then, unless it hangs, it closes the connection.
    """

    socket: Path
    there: list[object] = field(default_factory=list)
    say: Callable[[bytes], bytes] | None = None
    hangs: bool = False
    slow: float = 0.0
    asked: list[str] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert "\r\nHost: localhost\r\n" in head
            _, path, _ = head.split("\r\n", 1)[0].split(" ")
            self.asked.append(path)
            answer = (self.say or _whole)(json.dumps(self._list(path)).encode())
            step = 7 if self.slow else max(1, len(answer))
            for begin in range(0, len(answer), step):
                writer.write(answer[begin : begin + step])
                await writer.drain()
                await asyncio.sleep(self.slow)
            if self.hangs:
                await asyncio.sleep(60)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _list(self, path: str) -> list[object]:
        query = parse_qs(urlsplit(path).query)
        assert query["all"] == ["true"], "those that end now, and those that begin, too"
        wanted = json.loads(query.get("filters", ["{}"])[0]).get("id", [""])[0]
        return [
            each
            for each in self.there
            if not wanted or str(each.get("Id")).startswith(wanted)  # type: ignore[attr-defined]
        ]


def _whole(body: bytes) -> bytes:
    return DOCKER + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _in_chunks(body: bytes) -> bytes:
    pieces = [body[begin : begin + 100] for begin in range(0, len(body), 100)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return DOCKER + b"Transfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n"


@pytest.fixture
async def engine(short_folder: Path) -> AsyncIterator[Engine]:
    engine = Engine(short_folder / "s")
    async with await asyncio.start_unix_server(engine, engine.socket):
        yield engine


@pytest.fixture
def client(engine: Engine) -> DockerClient:
    return DockerClient(engine.socket, timeout=0.5)


@pytest.mark.parametrize("form", [_whole, _in_chunks])
async def test_container_without_a_pod_has_its_name_image_and_own_labels(
    engine: Engine, client: DockerClient, form: Callable[[bytes], bytes]
) -> None:
    engine.there, engine.say = [OF_PODMAN, WITH_LINK], form
    web = await client.identity(WEB)
    assert web is not None
    assert web.owner(7) == Owner(
        7,
        "container",
        container="web",
        container_id=WEB,
        labels={"app": "web", "org.opencontainers.image.title": "test"},
        image="nginx:1.27",
    )
    assert engine.asked == [
        f"/containers/json?all=true&filters=%7B%22id%22%3A%20%5B%22{WEB}%22%5D%7D"
    ]
    plain = await client.identity(PLAIN)
    assert plain is not None
    assert plain.owner(8) == Owner(
        8, "container", container="pweb", container_id=PLAIN, image=IMAGE
    )
    assert await client.identity("f" * 64) is None
    assert await client.identity(WEB[:12]) is None, "only a whole id is an answer"


async def test_pods_of_cri_dockerd_are_pods(engine: Engine, client: DockerClient) -> None:
    engine.there = [IN_A_POD, WITH_LINK]
    assert await client.identity(NGINX) is None, "its sandbox is not told of yet"
    assert [each.id for each in await client.identities()] == [WEB]
    engine.there.append(OF_A_POD)
    nginx = await client.identity(NGINX)
    assert isinstance(nginx, Container)
    assert nginx.owner(7) == Owner(
        7,
        "container",
        "shop",
        "web-0",
        UID,
        "nginx",
        NGINX,
        {"app": "web"},
        image="nginx@sha256:abc",
    )
    assert await client.identity(PAUSE) is nginx.sandbox, "one pod is held once"
    assert nginx.sandbox.owner(8).kind == "sandbox"
    found = await client.identities()
    assert {each.id for each in found} == {WEB, NGINX, PAUSE}
    assert [each.id for each in found if isinstance(each, Sandbox)] == [PAUSE]
    assert [each.id for each in await client.containers()] == [NGINX, WEB]


async def test_pod_that_names_itself_as_its_sandbox_asks_nothing_more(
    engine: Engine, client: DockerClient
) -> None:
    labels = {"io.kubernetes.sandbox.id": WEB}
    engine.there = [{**WITH_LINK, "Labels": labels}, {**OF_PODMAN, "Labels": labels}]
    assert await client.identity(WEB) is None
    assert await client.identity(PLAIN) is None, "what it names is no sandbox"
    assert len(engine.asked) == 3


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"Names": ["/" + "x" * 254]}, "a name of container of 254 characters"),
        ({"Image": "x" * 4097}, "a name of image of 4097 characters"),
        ({"Labels": {"a": "x" * (1 << 20)}}, "labels of more than 1048576 bytes"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_as_a_whole(
    engine: Engine, client: DockerClient, entry: dict[str, object], problem: str
) -> None:
    engine.there = [{**WITH_LINK, **entry}, OF_PODMAN]
    web = await client.identity(WEB)
    assert web is not None
    owner = web.owner(7)
    assert (owner.kind, owner.container, owner.labels) == ("unknown", "", {})
    assert problem in owner.reason
    assert len(await client.identities()) == 2, "others are none the worse"


async def test_entries_of_the_wrong_make_are_left_out_and_odd_fields_are_empty(
    engine: Engine, client: DockerClient
) -> None:
    odd = {"Id": WEB, "Names": [7, "/a\ud800\u001b[2J"], "Image": ["x"], "Labels": {"a": 1}}
    engine.there = [odd, {"Id": 7}, {"Names": ["/x"]}, None, [], "text"]
    engine.say = lambda _: _whole(json.dumps(engine.there).encode())
    (web,) = await client.identities()
    owner = web.owner(7)
    assert (owner.container, owner.image, owner.labels) == ("", "", {"a": ""})
    engine.there = [{**odd, "Names": ["/a\ud800b"]}]
    (web,) = await client.identities()
    assert web.owner(7).container == "a?b", "half of a surrogate pair cannot be written down"


@pytest.mark.parametrize(
    ("say", "error", "told"),
    [
        (lambda _: b"", RuntimeUnavailable, "broke off"),
        (lambda _: b"SSH-2.0-OpenSSH_9.2\r\n", RuntimeUnavailable, "does not speak HTTP"),
        (lambda _: bytes(range(256)) * 64, RuntimeUnavailable, "does not speak HTTP"),
        (lambda body: _whole(body)[:-9], RuntimeUnavailable, "broke off"),
        (lambda body: _in_chunks(body)[:-20], RuntimeUnavailable, "broke off"),
        (lambda _: DOCKER + b"X: y\r\n" * 500 + b"\r\n[]", RuntimeUnavailable, "headers"),
        (lambda _: _whole(b'[{"Id"'), RuntimeUnreadable, "Expecting"),
        (lambda _: _whole(b'{"message": "x"}'), RuntimeUnreadable, "it is a dict"),
        (lambda _: _whole(b"[" * 200_000), RuntimeUnreadable, "nested too deeply"),
        (lambda _: _whole(b'["\xff"]'), RuntimeUnreadable, "utf-8"),
        (lambda _: _whole(b" " * (MAX_ANSWER + 1)), RuntimeUnreadable, "more than 16 MiB"),
        (
            lambda _: b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n",
            RuntimeUnsupported,
            "does not speak Docker's API",
        ),
        (
            lambda _: b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nfire",
            RuntimeUnavailable,
            "answered 500: fire",
        ),
    ],
)
async def test_engine_that_talks_nonsense_is_told_of_and_asked_again(
    engine: Engine,
    client: DockerClient,
    say: Callable[[bytes], bytes],
    error: type[Exception],
    told: str,
) -> None:
    engine.there, engine.say = [WITH_LINK], say
    with pytest.raises(error, match=re.escape(told)) as caught:
        await client.identities()
    assert str(engine.socket) in str(caught.value)
    engine.say = None
    assert len(await client.identities()) == 1


@pytest.mark.parametrize("misbehaviour", [{"hangs": True}, {"slow": 0.2}])
async def test_engine_that_takes_its_time_is_not_waited_for(
    engine: Engine, client: DockerClient, misbehaviour: dict[str, object]
) -> None:
    engine.there = [WITH_LINK]
    for name, value in misbehaviour.items():
        setattr(engine, name, value)
    began = time.monotonic()
    with pytest.raises(RuntimeUnavailable, match=r"did not answer in 0\.5 s"):
        await client.identity(WEB)
    assert time.monotonic() - began < 10, "all of the slow answer takes longer, as the other does"


async def test_socket_that_nobody_listens_on_is_told_of(short_folder: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="No such file"):
        await DockerClient(short_folder / "s").identities()


async def test_containers_of_a_real_docker_get_their_names(
    dockerd: Any, hierarchy: Path, image_archive: Path
) -> None:
    await asyncio.to_thread(dockerd.docker, "load", "-i", str(image_archive))
    run = ("run", "-d", "--network", "none", "--label", "app=web")
    before = await asyncio.to_thread(dockerd.docker, *run, "--name", "before", IMAGE)
    said: list[Owner] = []
    client = DockerClient(dockerd.socket)
    index = Index(client, root=hierarchy, on_change=said.append, on_gone=lambda _: None)
    await index.start()
    later = await asyncio.to_thread(dockerd.docker, *run, "--name", "later", IMAGE)
    index.rescan_soon()
    try:
        async with asyncio.timeout(10):
            while {each.container for each in said if each.kind == "container"} != {
                "before",
                "later",
            }:
                await asyncio.sleep(0.02)
    finally:
        await index.close()
    owners = {each.container_id: each for each in said if each.kind == "container"}
    assert owners.keys() == {before, later}
    for owner in owners.values():
        assert (owner.namespace, owner.pod, owner.image) == ("", "", IMAGE)
        assert owner.labels == {"app": "web"}
        assert owner.cgroup_id == (hierarchy / owner.path.lstrip("/")).stat().st_ino
