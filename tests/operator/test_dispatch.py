# SPDX-License-Identifier: Apache-2.0
"""Agents over real gRPC and TLS: who may speak, for which node, and for how long."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
import pytest_asyncio

from eunomia_api import agent_pb2
from eunomia_operator.agents.dispatch import Dispatch
from eunomia_operator.certificates import ca
from eunomia_operator.errors import ClusterError
from eunomia_operator.metrics import Metrics
from eunomia_operator.settings import Settings

NAMES = ("localhost",)


def state(generation: int) -> bytes:
    desired = agent_pb2.DesiredState(generation=generation)
    return agent_pb2.ToAgent(desired_state=desired).SerializeToString()


@dataclass
class Office:
    """What the control loop is to the streams."""

    states: dict[str, bytes | None] = field(default_factory=lambda: {"node-a": state(1)})
    uids: dict[str, str] = field(default_factory=lambda: {"node-a": "uid-of-node-a"})
    heard: list[tuple[str, agent_pb2.Report]] = field(default_factory=list[Any])
    alerts: list[tuple[str, agent_pb2.Alerts, Callable[[int], None]]] = field(
        default_factory=list[Any]
    )

    def node_uid(self, node: str) -> str:
        return self.uids.get(node, "")

    def desired_state(self, node: str) -> bytes | None:
        return self.states.get(node)

    def report_interval(self) -> float:
        return 1.5

    def hear(self, node: str, report: agent_pb2.Report) -> None:
        self.heard.append((node, report))

    def take_alerts(
        self, node: str, alerts: agent_pb2.Alerts, answer: Callable[[int], None]
    ) -> None:
        self.alerts.append((node, alerts, answer))


@dataclass
class Served:
    dispatch: Dispatch
    office: Office
    authority: ca.Pair
    pair: ca.Pair
    port: int = 0
    away: bool = False
    """Whether the API server does not answer."""

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(5):
            while not condition(self):
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def served(settings: Settings, review_of: Any) -> AsyncIterator[Served]:
    async def review(token: str) -> dict[str, Any]:
        if token == "unavailable" or served.away:
            raise ClusterError("review a token", "no answer within 10 s")
        return review_of(token)

    now = datetime.now(UTC)
    authority = ca.make_authority(now)
    office = Office()
    dispatch = Dispatch(settings, office, review, Metrics())
    served = Served(dispatch, office, authority, ca.issue(authority, NAMES, now))
    served.port = await dispatch.open(lambda: served.pair)
    yield served
    await dispatch.close()


@pytest_asyncio.fixture
async def connect(served: Served, dial: Any) -> Any:
    async def connected(token: str | None, **more: Any) -> Any:
        return await dial(served.port, served.authority.certificate, token, **more)

    return connected


async def test_an_agent_is_welcomed_and_told_all(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token())
    welcome = (await agent.hear()).welcome
    assert (welcome.protocol, welcome.node, welcome.node_uid, welcome.report_interval_ms) == (
        1,
        "node-a",
        "uid-of-node-a",
        1500,
    )
    assert (await agent.hear()).desired_state.generation == 1
    served.office.states["node-a"] = state(2)
    served.dispatch.push(["node-a", "node-z"])
    assert (await agent.hear()).desired_state.generation == 2
    report = agent_pb2.Report(node="node-a", jobs=[agent_pb2.JobReport(uid="x")])
    await agent.say(acknowledgement=agent_pb2.Acknowledgement(generation=2))
    await agent.say(report=report)
    await served.until(lambda s: s.office.heard)
    assert served.office.heard == [("node-a", report)]
    assert list(served.dispatch.nodes) == ["node-a"]
    await agent.channel.close()
    await served.until(lambda s: not list(s.dispatch.nodes))
    assert served.dispatch.left_at("node-a") == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize(
    ("claims", "code", "why"),
    [
        (None, "UNAUTHENTICATED", "show a token"),
        ("nonsense", "UNAUTHENTICATED", "invalid bearer token"),
        ({"audience": "other"}, "UNAUTHENTICATED", "not for the audience eunomia.dev"),
        (
            {"account": "system:serviceaccount:eunomia:default"},
            "PERMISSION_DENIED",
            "only system:serviceaccount:eunomia:eunomia-agent may",
        ),
        (
            {"account": "system:serviceaccount:other:eunomia-agent"},
            "PERMISSION_DENIED",
            "only system:serviceaccount:eunomia:eunomia-agent may",
        ),
        ({"unbound": True}, "PERMISSION_DENIED", "bound to no pod"),
        ("unavailable", "UNAVAILABLE", "cannot review tokens"),
    ],
)
async def test_without_the_right_token_nothing_is_told(
    served: Served,
    connect: Any,
    make_token: Any,
    caplog: pytest.LogCaptureFixture,
    *,
    claims: Any,
    code: str,
    why: str,
) -> None:
    token = make_token(**claims) if isinstance(claims, dict) else claims
    agent = await connect(token, hello=False)
    ended, details = await agent.end()
    assert (ended.name, agent.heard) == (code, [])
    assert why in details
    assert why in caplog.text
    assert token is None or token in ("nonsense", "unavailable") or token not in caplog.text


async def test_a_report_for_another_node_ends_the_stream(
    served: Served, connect: Any, make_token: Any, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    await agent.report("node-b")
    code, details = await agent.end()
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert details == "a report for node 'node-b' on the stream of node 'node-a'"
    assert details in caplog.text
    assert served.office.heard == []


async def test_the_stream_ends_with_the_token(connect: Any, make_token: Any) -> None:
    agent = await connect(make_token(seconds=1))
    await agent.hear()
    assert await agent.end() == (grpc.StatusCode.UNAUTHENTICATED, "the token has run out")


async def test_a_fresh_token_keeps_the_stream(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token(seconds=1))
    await agent.hear()
    await agent.say(token=agent_pb2.Token(token=make_token(seconds=60)))
    await asyncio.sleep(1.2)
    await agent.report("node-a")
    await served.until(lambda s: s.office.heard)


async def test_a_fresh_token_waits_while_the_api_server_is_away(
    served: Served, connect: Any, make_token: Any, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    served.away = True
    await agent.say(token=agent_pb2.Token(token=make_token(seconds=60)))
    await served.until(lambda _: "the token waits to be reviewed" in caplog.text)
    served.away = False
    await agent.report("node-a")
    await served.until(lambda s: s.office.heard)


@pytest.mark.parametrize("claims", [{"node": "node-b"}, {"pod": "another"}, {"audience": "x"}])
async def test_a_fresh_token_must_be_the_same_pods(
    connect: Any, make_token: Any, claims: dict[str, str]
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    await agent.say(token=agent_pb2.Token(token=make_token(**claims)))
    assert (await agent.end())[0] == grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_begins_with_hello(connect: Any, make_token: Any) -> None:
    agent = await connect(make_token(), hello=False)
    await agent.report("node-a")
    assert (await agent.end())[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert agent.heard == []


async def test_a_newer_stream_of_a_node_takes_the_place_of_the_older(
    served: Served, connect: Any, make_token: Any
) -> None:
    older = await connect(make_token())
    await older.hear()
    await older.hear()
    newer = await connect(make_token())
    await newer.hear()
    assert (await older.end())[0] == grpc.StatusCode.ABORTED
    assert list(served.dispatch.nodes) == ["node-a"]
    assert (await newer.hear()).desired_state.generation == 1


async def test_a_node_that_is_not_known_yet_is_not_told_to_forget_its_jobs(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token("node-n"))
    assert (await agent.hear()).welcome.node_uid == "uid-of-node-n"
    served.office.states["node-n"] = state(7)
    served.dispatch.push(["node-n"])
    assert (await agent.hear()).desired_state.generation == 7


async def test_an_agent_of_a_replaced_node_object_has_to_dial_again(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    served.office.uids["node-a"] = "uid-of-another"
    await agent.report("node-a")
    code, details = await agent.end()
    assert (code, served.office.heard) == (grpc.StatusCode.UNAVAILABLE, [])
    assert "dial again" in details


async def test_alerts_are_answered_when_they_are_written_down(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    await agent.hear()
    told = agent_pb2.Alerts(alerts=[agent_pb2.Alert(id="a", sequence=7)])
    await agent.say(alerts=told)
    await served.until(lambda s: s.office.alerts)
    ((node, heard, answer),) = served.office.alerts
    assert (node, heard) == ("node-a", told)
    answer(5)
    answer(7)
    served.dispatch.push(["node-a"])
    heard = [await agent.hear(), await agent.hear()]
    assert [each.WhichOneof("body") for each in heard] == ["desired_state", "alerts_taken"]
    assert heard[1].alerts_taken.sequence == 7


async def test_alerts_of_a_replaced_node_object_are_not_taken(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    served.office.uids["node-a"] = "uid-of-another"
    await agent.say(alerts=agent_pb2.Alerts())
    assert ((await agent.end())[0], served.office.alerts) == (grpc.StatusCode.UNAVAILABLE, [])


async def test_what_this_release_does_not_know_is_passed_over(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    await agent.say()
    await agent.report("node-a")
    await served.until(lambda s: s.office.heard)


async def test_a_message_that_is_too_large_harms_nobody_else(
    served: Served, connect: Any, make_token: Any
) -> None:
    good, greedy = await connect(make_token()), await connect(make_token("node-b"))
    await good.hear()
    await greedy.hear()
    await greedy.report("node-b", agent_pb2.JobReport(message="x" * (2 << 20)))
    assert (await greedy.end())[0] != grpc.StatusCode.OK
    await good.report("node-a")
    await served.until(lambda s: s.office.heard)


async def test_a_renewed_certificate_serves_without_a_restart(
    served: Served, connect: Any, dial: Any, make_token: Any
) -> None:
    first = await connect(make_token())
    await first.hear()
    renewed = ca.make_authority(datetime.now(UTC))
    served.pair = ca.issue(renewed, NAMES, datetime.now(UTC))
    second = await dial(served.port, renewed.certificate, make_token("node-b"))
    assert (await second.hear()).welcome.node == "node-b"
    await first.report("node-a")
    await served.until(lambda s: s.office.heard)


async def test_when_leading_ends_agents_are_sent_away(
    served: Served, connect: Any, make_token: Any
) -> None:
    agent = await connect(make_token())
    await agent.hear()
    await served.dispatch.close()
    assert (await agent.end())[0] == grpc.StatusCode.UNAVAILABLE
