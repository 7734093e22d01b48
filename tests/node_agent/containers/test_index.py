# SPDX-License-Identifier: Apache-2.0
"""Whose a cgroup is, from its mkdir to after its end: with late words, lies and outages."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eunomia_agent.containers.index import Index
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.containers.watch import CgroupGone, CgroupMade
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnsupported

UID = "0f8a6b0e-1c2d-4e3f-8a9b-0123456789ab"
PAUSE, WEB, OTHER, NODE = "0a" * 32, "1b" * 32, "2c" * 32, "3d" * 32
POD = Sandbox(PAUSE, "shop", "web-0", UID, {"app": "web"})
CONTAINER = Container(WEB, POD, "nginx")
FOLDER = f"kubepods/burstable/pod{UID}"


class World:
    """A tree of cgroups, a runtime, an index over both, and what the index said."""

    def __init__(self, root: Path, runtime) -> None:
        self.root = root
        self.runtime = runtime
        self.said: list[Owner] = []
        self.gone: list[int] = []
        self.watched: list[int] = []
        self.index = self.make_index(runtime)

    def make_index(self, runtime, **settings) -> Index:
        return Index(
            runtime,
            on_change=self.said.append,
            on_gone=self.gone.append,
            watched=lambda: self.watched,
            **{"root": self.root, "linger": 0.05, "patience": 0.3, **settings},
        )

    def mkdir(self, path: str, *, heard: bool = True) -> int:
        folder = self.root / path
        folder.mkdir(parents=True)
        cgroup_id = folder.stat().st_ino
        if heard:
            self.index.feed([CgroupMade(cgroup_id, f"/{path}")])
        return cgroup_id

    def rmdir(self, path: str, *, heard: bool = True) -> None:
        cgroup_id = (self.root / path).stat().st_ino
        shutil.rmtree(self.root / path)
        if heard:
            self.index.feed([CgroupGone(cgroup_id)])

    def owner(self, cgroup_id: int) -> Owner:
        """What the index said last."""
        told = [owner for owner in self.said if owner.cgroup_id == cgroup_id]
        return told[-1] if told else Owner(cgroup_id, "pending", reason="not told of")

    def owners(self) -> list[Owner]:
        return [*{owner.cgroup_id: owner for owner in self.said}.values()]

    def pending(self) -> list[str]:
        return [owner.container_id for owner in self.owners() if owner.kind == "pending"]

    def kinds(self, cgroup_id: int) -> list[str]:
        return [owner.kind for owner in self.said if owner.cgroup_id == cgroup_id]

    async def until(self, met: Callable[[], object], seconds: float = 3.0) -> None:
        async with asyncio.timeout(seconds):
            while not met():
                await asyncio.sleep(0.005)


@pytest.fixture
async def world(tmp_path: Path, runtime) -> AsyncIterator[World]:
    world = World(tmp_path, runtime)
    yield world
    await world.index.close()


async def test_what_ran_before_the_agent_is_known_when_start_returns(world: World) -> None:
    world.runtime.add(POD, CONTAINER)
    pause = world.mkdir(f"{FOLDER}/{PAUSE}", heard=False)
    web = world.mkdir(f"{FOLDER}/{WEB}", heard=False)
    ssh = world.mkdir("system.slice/ssh.service", heard=False)
    await world.index.start()

    assert world.owner(web) == Owner(
        web, "container", "shop", "web-0", UID, "nginx", WEB, {"app": "web"}
    )
    assert world.owner(pause).kind == "sandbox"
    assert world.owner(pause).container == ""
    assert world.owner(ssh) == Owner(ssh, "host")
    assert world.owner((world.root / FOLDER).stat().st_ino).kind == "pod"
    assert world.pending() == []
    assert world.runtime.asked == [], "two lists were enough"


async def test_container_that_starts_later_is_pending_until_the_runtime_tells(
    world: World,
) -> None:
    await world.index.start()
    web = world.mkdir(f"{FOLDER}/{WEB}")
    assert world.owner(web).kind == "pending"
    assert world.pending() == [WEB]
    await asyncio.sleep(0.08)
    world.runtime.add(POD, CONTAINER)
    await world.until(lambda: not world.pending())
    assert world.kinds(web) == ["pending", "container"]
    assert world.owner(web).labels == {"app": "web"}


async def test_container_that_is_gone_before_it_is_known_still_gets_its_name(
    world: World,
) -> None:
    await world.index.start()
    web = world.mkdir(f"{FOLDER}/{WEB}")
    world.rmdir(f"{FOLDER}/{WEB}")
    await asyncio.sleep(0.1)  # longer than the index lingers
    assert world.gone == []
    world.runtime.add(POD, CONTAINER)
    await world.until(lambda: world.owner(web).kind == "container")
    assert world.gone == [], "rows that still stand in a ring find their owner"
    await world.until(lambda: world.gone == [web])
    assert world.kinds(web) == ["pending", "container"]


async def test_container_that_nobody_knows_is_unknown_and_says_why(world: World) -> None:
    await world.index.start()
    web = world.mkdir(f"{FOLDER}/{WEB}")
    await world.until(lambda: world.owner(web).kind == "unknown")
    assert world.owner(web) == Owner(
        web, "unknown", container_id=WEB, reason="the container runtime does not know it"
    )
    assert len(world.runtime.asked) > 3, "it was asked several times"


async def test_pause_container_tells_the_pod_before_its_containers_are_there(
    world: World,
) -> None:
    await world.index.start()
    pod = world.mkdir(FOLDER)
    assert world.owner(pod) == Owner(pod, "pod", pod_uid=UID)
    pause = world.mkdir(f"{FOLDER}/{PAUSE}")
    await asyncio.sleep(0.03)
    world.runtime.add(POD)
    await world.until(lambda: world.owner(pause).kind == "sandbox")
    assert world.owner(pod) == Owner(pod, "pod", "shop", "web-0", UID, labels={"app": "web"})
    world.rmdir(FOLDER + "/" + PAUSE)
    world.rmdir(FOLDER)
    await world.until(lambda: set(world.gone) == {pod, pause})


async def test_what_a_container_makes_inside_itself_is_its_own(world: World) -> None:
    world.runtime.add(POD, CONTAINER, Container(OTHER, POD, "sidecar"))
    await world.index.start()
    world.mkdir(f"{FOLDER}/{WEB}")
    await world.until(lambda: not world.pending())
    inner = world.mkdir(f"{FOLDER}/{WEB}/init.scope")
    liar = world.mkdir(f"{FOLDER}/{WEB}/kubepods/pod{UID}/{OTHER}")
    assert world.owner(inner).container == "nginx"
    assert world.owner(liar).container == "nginx", "not the sidecar's, whatever its path"


async def test_liar_gains_nothing_while_the_container_around_it_is_pending(
    world: World,
) -> None:
    await world.index.start()
    world.runtime.add(POD, CONTAINER, Container(OTHER, POD, "sidecar"))
    liar = world.mkdir(f"{FOLDER}/{WEB}/kubepods/pod{UID}/{OTHER}")
    assert world.owner(liar).kind == "pending"
    await world.until(lambda: not world.pending())
    assert world.owner(liar).container == "nginx"


async def test_node_that_is_a_container_itself_is_the_host_of_its_containers(
    world: World,
) -> None:
    world.runtime.add(POD, CONTAINER)
    service = world.mkdir(f"docker/{NODE}/system.slice/containerd.service", heard=False)
    web = world.mkdir(f"docker/{NODE}/kubelet/{FOLDER}/{WEB}", heard=False)
    await world.index.start()
    await world.until(lambda: world.owner(web).kind == "container")
    await world.until(lambda: world.owner(service).kind == "host")
    pod = (world.root / f"docker/{NODE}/kubelet/{FOLDER}").stat().st_ino
    await world.until(lambda: world.owner(pod).pod == "web-0")
    later = world.mkdir(f"docker/{NODE}/system.slice/cron.service")
    assert world.owner(later) == Owner(later, "host"), "at once, from now on"


async def test_without_a_runtime_only_the_host_is_known(world: World) -> None:
    world.index = world.make_index(None)
    web = world.mkdir(f"docker/{WEB}", heard=False)
    ssh = world.mkdir("system.slice/ssh.service", heard=False)
    await world.index.start()
    later = world.mkdir(f"docker/{OTHER}")
    assert world.owner(ssh).kind == "host"
    assert world.owner(web) == Owner(
        web, "unknown", container_id=WEB, reason="there is no container runtime to ask"
    )
    assert world.owner(later).container_id == OTHER
    assert world.pending() == []
    assert world.index.problem() is None


async def test_runtime_that_restarts_is_waited_for(world: World) -> None:
    world.runtime.down = RuntimeUnavailable("containerd is restarting")
    await world.index.start()
    web = world.mkdir(f"{FOLDER}/{WEB}")
    await asyncio.sleep(0.7)  # more than patience: silence is no answer
    assert world.owner(web).kind == "pending"
    assert world.index.problem() == "containerd is restarting"
    world.runtime.down = None
    world.runtime.add(POD, CONTAINER)
    await world.until(lambda: world.owner(web).kind == "container")
    assert world.index.problem() is None


async def test_socket_that_speaks_something_else_is_not_waited_for(world: World) -> None:
    world.runtime.down = RuntimeUnsupported("no CRI here")
    await world.index.start()
    web = world.mkdir(f"docker/{WEB}")
    await world.until(lambda: world.owner(web).kind == "unknown", 0.2)
    assert world.owner(web).reason == "no CRI here"


async def test_answer_that_breaks_the_client_makes_one_unknown_and_hurts_no_other(
    world: World,
) -> None:
    world.runtime.add(POD, CONTAINER)
    world.runtime.broken.add(OTHER)
    await world.index.start()
    odd, web = world.mkdir(f"{FOLDER}/{OTHER}"), world.mkdir(f"{FOLDER}/{WEB}")
    await world.until(lambda: not world.pending())
    assert world.owner(odd).kind == "unknown"
    assert "was not understood: AttributeError" in world.owner(odd).reason
    assert world.owner(web).container == "nginx"


async def test_metadata_out_of_bounds_makes_one_unknown_and_hurts_no_other(
    world: World,
) -> None:
    world.runtime.add(POD, CONTAINER, Container(OTHER, POD, problem="a name of container of 999"))
    await world.index.start()
    odd, web = world.mkdir(f"{FOLDER}/{OTHER}"), world.mkdir(f"{FOLDER}/{WEB}")
    await world.until(lambda: not world.pending())
    assert world.owner(odd).kind == "unknown"
    assert world.owner(odd).reason == "its metadata has a name of container of 999"
    assert world.owner(web).container == "nginx"


async def test_lost_records_are_made_good_by_a_scan(world: World) -> None:
    world.runtime.add(POD, CONTAINER)
    old = world.mkdir("old.service", heard=False)
    await world.index.start()
    web = world.mkdir(f"{FOLDER}/{WEB}", heard=False)
    world.rmdir("old.service", heard=False)
    assert world.kinds(web) == []
    world.index.feed([None])
    await world.until(lambda: "container" in world.kinds(web))
    await world.until(lambda: old in world.gone)


async def test_entry_of_a_cgroup_that_nobody_told_of_is_given_up_by_a_scan(world: World) -> None:
    await world.index.start()
    alive = world.mkdir("alive.service", heard=False)
    heard = world.mkdir("heard.service")
    world.watched += [alive, heard, 10**15]
    world.index.rescan_soon()
    await world.until(lambda: world.gone == [10**15])
    assert world.kinds(alive) == ["host"]


async def test_entries_are_kept_while_part_of_the_tree_cannot_be_read(
    world: World, monkeypatch
) -> None:
    world.mkdir("closed/inside")
    seen = os.scandir

    def scandir(path: bytes):
        if path == os.fsencode(world.root / "closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return seen(path)

    monkeypatch.setattr(os, "scandir", scandir)
    await world.index.start()
    world.watched += [10**15]
    world.index.rescan_soon()
    await asyncio.sleep(0.1)
    assert world.gone == []
    assert world.index.problem() == (
        "cgroups are missing: those below '/closed' cannot be read: Permission denied"
    )
    monkeypatch.undo()
    world.index.rescan_soon()
    await world.until(lambda: world.gone == [10**15])
    assert world.index.problem() is None


async def test_closed_index_calls_nobody_back(world: World) -> None:
    await world.index.start()
    world.mkdir("old.service")
    world.mkdir(f"{FOLDER}/{WEB}")
    world.rmdir("old.service")
    await world.index.close()
    said = len(world.said)
    world.runtime.add(POD, CONTAINER)
    await asyncio.sleep(0.15)
    assert (len(world.said), world.gone) == (said, [])


async def test_tree_that_is_gone_for_a_while_is_told_and_got_over(world: World) -> None:
    await world.index.start()
    away = world.root.with_name("away")
    world.root.rename(away)
    world.index.rescan_soon()
    await world.until(world.index.problem)
    assert "cannot be read" in str(world.index.problem())
    away.rename(world.root)
    web = world.mkdir("web.service", heard=False)
    world.index.rescan_soon()
    await world.until(lambda: world.owner(web).kind == "host")
    assert world.index.problem() is None


async def test_table_that_is_full_says_so_and_goes_on(world: World) -> None:
    world.index = world.make_index(world.runtime, max_cgroups=3)
    await world.index.start()  # the root is one
    ids = [world.mkdir(f"a{number}.service") for number in range(4)]
    assert [world.owner(each).kind for each in ids] == ["host", "host", "unknown", "unknown"]
    assert world.kinds(ids[3]) == ["unknown"], "told, so that the kernel's entry is seen to"
    assert "more than 3 cgroups" in str(world.index.problem())
    world.rmdir("a3.service")
    assert world.gone == [ids[3]]
    world.rmdir("a0.service")
    await world.until(lambda: ids[0] in world.gone)
    assert world.index.problem() is None
    assert world.owner(world.mkdir("b.service")).kind == "host"


async def test_scan_that_could_not_see_all_ends_nothing(world: World) -> None:
    world.index = world.make_index(world.runtime, max_cgroups=4)
    await world.index.start()
    for number in range(3):
        world.mkdir(f"a{number}.service")
    for number in range(40):
        world.mkdir(f"b{number}.service", heard=False)
    world.index.rescan_soon()
    await asyncio.sleep(0.2)
    assert world.gone == []
    assert [owner.kind for owner in world.owners()].count("host") == 4


async def test_ten_thousand_cgroups_that_come_and_go_leave_nothing_behind(world: World) -> None:
    await world.index.start()
    names = [(number, f"{number:064x}") for number in range(10**6, 10**6 + 10_000)]
    world.runtime.add(*(Container(name, POD, "batch") for _, name in names))
    for number, name in names:
        world.index.feed([CgroupMade(number, f"/{FOLDER}/{name}"), CgroupGone(number)])
    await world.until(lambda: len(world.gone) == len(names), 60)
    assert len(world.index._cgroups) == 1, "the root alone"
    kinds = [owner.kind for owner in world.said[1:]]
    assert kinds.count("pending") == kinds.count("container") == len(names)


async def test_where_no_tree_is_mounted_what_starts_from_now_on_is_known(world: World) -> None:
    world.runtime.add(POD, CONTAINER)
    world.index = world.make_index(world.runtime, root=None)
    await world.index.start()
    assert world.owners() == [Owner(1, "host")], "where processes are that nobody put elsewhere"
    assert "mount -t cgroup2" in str(world.index.problem())
    web = world.mkdir(f"{FOLDER}/{WEB}")
    await world.until(lambda: world.owner(web).kind == "container")


async def test_tree_that_cannot_be_read_is_told_and_read_later(world: World) -> None:
    world.index = world.make_index(None, root=world.root / "later", rescan=0.05)
    await world.index.start()
    assert "No such file" in str(world.index.problem())
    ssh = world.mkdir("later/ssh.service", heard=False)
    await world.until(lambda: world.owner(ssh).kind == "host")
    assert world.index.problem() is None


async def test_owners_know_their_place_in_the_tree(world: World) -> None:
    await world.index.start()
    web = world.mkdir(f"{FOLDER}/{WEB}")
    world.runtime.add(POD, CONTAINER)
    await world.until(lambda: world.owner(web).kind == "container")
    told = [owner.path for owner in world.said if owner.cgroup_id == web]
    assert told == [f"/{FOLDER}/{WEB}"] * 2, "while it is pending, too"
