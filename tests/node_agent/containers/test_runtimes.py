# SPDX-License-Identifier: Apache-2.0
"""Several container runtimes on one host."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.cri import CriClient
from eunomia_agent.containers.docker import DockerClient
from eunomia_agent.containers.runtime import Container, Runtimes, Sandbox
from eunomia_agent.containers.sockets import open_runtime
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnreadable, RuntimeUnsupported

WEB, PAUSE, PLAIN = "1b" * 32, "0a" * 32, "4e" * 32
POD = Sandbox(PAUSE, "shop", "web-0", "uid")
IN_POD = Container(WEB, POD, "nginx")
SEEN_BY_DOCKER = Container(WEB, Sandbox(""), "k8s_nginx_web-0")
OF_DOCKER = Container(PLAIN, Sandbox(""), "db")


@dataclass
class Known:
    """A runtime that knows some containers, or does not answer."""

    held: tuple[Container | Sandbox, ...] = ()
    down: RuntimeUnavailable | None = None
    asked: list[str] = field(default_factory=list)
    closed: bool = False
    worn: Confinement | None = None

    async def confinement(self, _: str) -> Confinement | None:
        if self.down:
            raise self.down
        return self.worn

    async def identity(self, identity: str) -> Container | Sandbox | None:
        self.asked.append(identity)
        return next((each for each in await self.identities() if each.id == identity), None)

    async def identities(self) -> list[Container | Sandbox]:
        if self.down:
            raise self.down
        return [*self.held]

    async def containers(self) -> list[Container]:
        return [each for each in await self.identities() if isinstance(each, Container)]

    async def close(self) -> None:
        self.closed = True


async def test_first_that_knows_a_container_names_it() -> None:
    cri, docker = Known((IN_POD, POD)), Known((SEEN_BY_DOCKER, OF_DOCKER))
    both = Runtimes([cri, docker])
    assert await both.identity(WEB) is IN_POD
    assert docker.asked == [], "the second is asked for what the first does not know"
    assert await both.identity(PLAIN) is OF_DOCKER
    assert await both.identity("f" * 64) is None
    assert await both.identities() == [IN_POD, POD, OF_DOCKER]
    assert await both.containers() == [IN_POD, OF_DOCKER]
    await both.close()
    assert cri.closed
    assert docker.closed


async def test_what_a_container_wears_is_told_by_the_one_that_knows_it() -> None:
    silent = Known(down=RuntimeUnavailable("the first is down"))
    told = [Known(), Known(worn=Confinement()), Known(worn=Confinement("eunomia/shop/web.json"))]
    assert await Runtimes([silent, *told]).confinement(WEB) == Confinement()
    assert await Runtimes([Known(), Known()]).confinement(WEB) is None
    with pytest.raises(RuntimeUnavailable, match="the first is down"):
        await Runtimes([silent, Known()]).confinement(WEB)


async def test_one_that_is_silent_keeps_no_other_from_answering() -> None:
    silent = Known(down=RuntimeUnavailable("the first is down"))
    both = Runtimes([silent, Known((OF_DOCKER,))])
    assert await both.identity(PLAIN) is OF_DOCKER
    assert await both.identities() == [OF_DOCKER]
    with pytest.raises(RuntimeUnavailable, match="the first is down"):
        await both.identity(WEB)  # which it may know, once it is up


async def test_when_none_answers_nothing_is_known() -> None:
    down = [Known(down=RuntimeUnreadable("first")), Known(down=RuntimeUnavailable("second"))]
    for ask in (Runtimes(down).identities, Runtimes(down).containers):
        with pytest.raises(RuntimeUnreadable, match="first"):
            await ask()


async def test_containerd_without_pods_beside_docker_is_no_runtime_that_is_down() -> None:
    no_cri = Known(down=RuntimeUnsupported("enable the CRI plugin"))
    both = Runtimes([no_cri, Known((OF_DOCKER,))])
    assert await both.identity(WEB) is None
    assert await both.identities() == [OF_DOCKER]
    with pytest.raises(RuntimeUnsupported):
        await Runtimes([no_cri, no_cri]).identity(WEB)


@pytest.fixture
def listening(short_folder: Path) -> Iterator[list[str]]:
    """Names of sockets below the folder, each of which is made to be there."""
    places = ["run/crio/crio.sock", "run/docker.sock", "run/podman/podman.sock"]
    sockets = [socket.socket(socket.AF_UNIX) for _ in places]
    for place, each in zip(places, sockets, strict=True):
        (short_folder / place).parent.mkdir(parents=True, exist_ok=True)
        each.bind(str(short_folder / place))
    yield places
    for each in sockets:
        each.close()


async def test_usual_sockets_are_all_asked_and_pods_first(
    short_folder: Path, listening: list[str]
) -> None:
    runtime = open_runtime(root=short_folder)
    assert isinstance(runtime, Runtimes)
    assert [type(each) for each in runtime._runtimes] == [CriClient, DockerClient, DockerClient]
    assert [each._socket for each in runtime._runtimes] == [
        str(short_folder / place) for place in listening
    ]
    await runtime.close()


async def test_socket_that_is_named_is_the_only_one_that_is_asked(
    short_folder: Path, listening: list[str]
) -> None:
    runtime = open_runtime(docker=Path("/srv/engine"), root=short_folder)
    assert isinstance(runtime, DockerClient)
    assert runtime._socket == "/srv/engine"
    runtime = open_runtime(cri=Path("/srv/cri"), root=short_folder)
    assert isinstance(runtime, CriClient)
    await runtime.close()


async def test_host_without_runtimes_has_nobody_to_ask(short_folder: Path) -> None:
    (short_folder / "run").mkdir()
    (short_folder / "run/docker.sock").write_text("a file is no socket")
    assert open_runtime(root=short_folder) is None
