# SPDX-License-Identifier: Apache-2.0
"""Alerts wait on the node's disk, and reach the operator each once, whatever happens between."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from eunomia_agent.link import sending as sending_module
from eunomia_agent.link.sending import Sending
from eunomia_agent.link.session import Session
from eunomia_agent.link.spool import MAX_ALERTS, MAX_ALERTS_A_CONTAINER, MAX_BYTES, Spool
from eunomia_api import agent_pb2


def alert(name: str, size: int = 0, container: str = "") -> agent_pb2.Alert:
    whose = container or f"c{name}"
    return agent_pb2.Alert(id=name, rule="r", evidence="x" * size, container_id=whose)


def ids(spool: Spool, after: int = 0) -> list[str]:
    return [each.id for each in spool.after(after)]


class Stream:
    """Stands for a session; keeps what is sent, and may be down or full."""

    def __init__(self) -> None:
        self.connected = True
        self.full = False
        self.sent: list[list[str]] = []
        self.last = 0

    def send(self, message: agent_pb2.FromAgent) -> bool:
        if self.full:
            return False
        self.sent.append([each.id for each in message.alerts.alerts])
        self.last = message.alerts.alerts[-1].sequence
        return True


async def settle() -> None:
    await asyncio.sleep(0.05)


async def test_alerts_go_at_once_in_messages_of_bounded_size_and_each_once(tmp_path: Path) -> None:
    spool, stream = Spool(tmp_path), Stream()
    for number in range(120):
        assert spool.put(alert(str(number)))
    sending = Sending(spool, cast(Session, stream))
    task = asyncio.create_task(sending.run())
    sending.begin()
    await settle()
    assert [len(part) for part in stream.sent] == [50, 50, 20]

    await asyncio.to_thread(spool.put, alert("late"))
    await settle()
    assert [each for part in stream.sent for each in part] == [*map(str, range(120)), "late"]
    task.cancel()


async def test_what_was_not_taken_in_goes_again_on_the_next_stream_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "RETRY_SECONDS", 0.01)
    spool, stream = Spool(tmp_path), Stream()
    sending = Sending(spool, cast(Session, stream))
    task = asyncio.create_task(sending.run())
    stream.connected = False
    for name in "abc":
        spool.put(alert(name))
    await settle()
    assert stream.sent == []

    stream.connected = stream.full = True
    sending.begin()
    await settle()
    stream.full = False
    await settle()
    assert stream.sent == [["a", "b", "c"]]
    spool.taken(stream.last - 1)

    sending.begin()
    await settle()
    assert stream.sent == [["a", "b", "c"], ["c"]]
    spool.taken(stream.last)
    sending.begin()
    await settle()
    assert len(stream.sent) == 2
    assert len(spool) == 0
    task.cancel()


async def test_what_found_no_room_on_the_disk_reaches_it_as_soon_as_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "SYNC_SECONDS", 0.01)
    spool = Spool(tmp_path)
    task = asyncio.create_task(Sending(spool, cast(Session, Stream())).run())
    with monkeypatch.context() as full:
        full.setattr(os, "write", write_most)
        spool.put(alert("a"))
        await settle()
        assert spool.problem == "alerts: No space left on device"
    await settle()
    assert spool.problem is None
    assert ids(Spool(tmp_path)) == ["a"]
    task.cancel()


def test_an_agent_that_starts_again_has_what_was_not_taken_in_and_numbers_go_on(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    for name in "abc":
        spool.put(alert(name))
    first, *_ = spool.after(0)
    spool.taken(first.sequence)
    last = spool.after(0)[-1].sequence

    again = Spool(tmp_path)  # the first one was killed: it closed nothing
    assert ids(again) == ["b", "c"]
    again.put(alert("d"))
    *kept, newest = [each.sequence for each in again.after(0)]
    assert kept == [last - 1, last]
    assert newest > last
    again.taken(newest)
    # what was taken in leaves the disk, and while it lies there only root reads it
    assert (tmp_path / "alerts").stat().st_size < 50
    assert (tmp_path / "alerts").stat().st_mode & 0o777 == 0o600

    empty = Spool(tmp_path)
    assert ids(empty) == []
    empty.put(alert("e"))
    assert empty.after(0)[0].sequence > newest


def test_without_room_the_newest_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert all(spool.put(alert(str(number))) for number in range(MAX_ALERTS))
    assert not spool.put(alert("one more"))
    spool.taken(spool.after(0, 1)[0].sequence)
    assert spool.put(alert("one more"))


def test_a_loud_container_leaves_room_to_the_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    taken = sum(spool.put(alert(str(n), container="loud")) for n in range(MAX_ALERTS))
    assert taken == MAX_ALERTS_A_CONTAINER
    assert spool.put(alert("quiet"))

    again = Spool(tmp_path)
    assert not again.put(alert("more", container="loud"))
    again.taken(again.after(0, 1)[0].sequence)
    assert again.put(alert("more", container="loud"))


def test_a_quiet_container_finds_room_in_a_full_spool_by_what_the_loudest_told_last(
    tmp_path: Path,
) -> None:
    spool, gone = Spool(tmp_path), list[str]()
    spool.on_gone = gone.append
    for number in range(MAX_ALERTS):
        told = alert(f"{number}", container=f"loud{number % 5}")
        told.policy_uid = f"p{number % 5}"
        assert spool.put(told)
    assert not spool.put(alert("more", container="loud3"))

    assert spool.put(alert("q-1", container="quiet"))
    assert spool.put(alert("q-2", container="quiet"))
    assert spool.put(alert("other"))
    kept = ids(spool)
    assert kept[-3:] == ["q-1", "q-2", "other"]
    assert (len(kept), set(map(str, range(MAX_ALERTS))) - set(kept)) == (
        *(MAX_ALERTS, {"995", "996", "997"}),
    )
    assert gone == ["p0", "p1", "p2"]
    spool.close()
    assert ids(Spool(tmp_path)) == kept


def test_a_large_alert_takes_the_place_of_larger_ones_or_of_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    half = MAX_BYTES // 2
    for name in ("a", "b", "c"):
        assert spool.put(alert(name, half // 2 - 100, "large"))
    assert spool.put(alert("d", half // 2, "quiet"))
    assert spool.put(alert("e", half // 4, "quiet"))
    assert ids(spool) == ["a", "b", "d", "e"]
    assert not spool.put(alert("f", half, "quiet"))  # it would be the loudest itself
    assert ids(spool) == ["a", "b", "d", "e"]


def test_few_large_ones_fill_it_as_many_small_ones_do(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert sum(spool.put(alert(str(number), size=40_000)) for number in range(200)) == 104
    spool.taken(spool.after(0)[-1].sequence)
    assert sum(spool.put(alert(str(number), size=40_000)) for number in range(200)) == 104


def test_the_file_stays_small_however_many_alerts_pass_through(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(alert("kept for long", size=1000))
    for number in range(3000):
        spool.put(alert(str(number), size=5000))
        if number % 100 == 99:
            while len(spool) > 100:
                spool.taken(spool.after(0, 1)[0].sequence)
    assert (tmp_path / "alerts").stat().st_size <= 2 * 4 * 1024 * 1024
    assert ids(Spool(tmp_path)) == ids(spool)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_file_that_was_damaged_gives_what_is_whole(tmp_path: Path, damage: str) -> None:
    spool = Spool(tmp_path)
    for name in "abc":
        spool.put(alert(name, size=100))
    spool.close()
    data = bytearray((tmp_path / "alerts").read_bytes())
    if damage == "cut":
        del data[-10:]
    else:
        data[-10] ^= 1
    (tmp_path / "alerts").write_bytes(data)

    again = Spool(tmp_path)
    assert ids(again) == ["a", "b"]
    assert again.put(alert("d"))
    assert ids(Spool(tmp_path)) == ["a", "b", "d"]


def write_most(_: int, data: bytes) -> int:
    return len(data) - 1


def test_a_full_disk_keeps_alerts_in_memory_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.put(alert("a"))
    with monkeypatch.context() as full:
        full.setattr(os, "write", write_most)
        assert spool.put(alert("b"))
        assert spool.problem == "alerts: No space left on device"
    spool.sync()  # no other alert need come
    assert spool.problem is None
    assert ids(spool) == ids(Spool(tmp_path)) == ["a", "b"]
    with monkeypatch.context() as full:
        full.setattr(os, "write", write_most)
        assert spool.put(alert("c"))
    spool.put(alert("d"))
    assert spool.problem is None
    assert ids(spool) == ids(Spool(tmp_path)) == ["a", "b", "c", "d"]


def test_what_lay_on_the_disk_survives_a_power_cut_while_the_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spool(tmp_path).put(alert("a"))
    order: list[str] = []

    def told(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            order.append(what)
            return call(*args)

        return wrapped

    monkeypatch.setattr(Path, "replace", told("replace", Path.replace))
    monkeypatch.setattr(os, "fdatasync", told("data", os.fdatasync))
    monkeypatch.setattr(os, "fsync", told("folder", os.fsync))

    spool = Spool(tmp_path)
    assert order == ["data", "replace"]
    spool.sync()
    spool.sync()
    assert order == ["data", "replace", "data", "folder", "data"]


def test_numbers_that_a_crash_took_from_the_disk_are_not_given_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name in "abc":
        spool.put(alert(name, size=100))
    last = spool.after(0)[-1].sequence
    spool.close()
    lost = (tmp_path / "alerts").read_bytes()[:-150]
    (tmp_path / "alerts").write_bytes(lost)

    again = Spool(tmp_path)
    again.put(alert("d"))
    assert again.after(0)[-1].sequence > last


@pytest.mark.parametrize("taken", [False, True])
def test_numbers_go_on_though_the_machines_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    spool = Spool(tmp_path)
    spool.put(alert("a"))
    (first,) = spool.after(0)
    if taken:
        spool.taken(first.sequence)

    monkeypatch.setattr(time, "time_ns", lambda: 0)
    again = Spool(tmp_path)
    again.put(alert("b"))
    assert ids(again, after=first.sequence) == ["b"]


def test_a_file_that_cannot_be_read_keeps_no_agent_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alerts").mkdir()
    spool = Spool(tmp_path)
    assert spool.put(alert("a"))
    assert "cannot be read" in caplog.text
    assert ids(Spool(tmp_path)) == ["a"]
