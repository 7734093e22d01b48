# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads of broken rules."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.metrics.security import MAX_SERIES, QUIET_SECONDS, Security
from eunomia_api import agent_pb2

WARNING, ALERT = agent_pb2.SEVERITY_WARNING, agent_pb2.SEVERITY_ALERT
WEB = Owner(7, "container", "shop", "web-0", "uid", "nginx", "1b" * 32)


def page(security: Security) -> list[str]:
    registry = CollectorRegistry()
    registry.register(security)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_alerts_are_counted_by_severity_rule_and_container() -> None:
    security = Security("n1")
    for severity in (WARNING, WARNING, ALERT):
        security.count("shop/guard", "container-escape/disk-opened", severity, WEB)
    security.count("gone", "x", ALERT, WEB)
    security.forget("gone")
    labels = (
        'container="nginx",container_id="1b1b1b1b1b1b",namespace="shop",node="n1",pod="web-0",'
        'policy="shop/guard",rule="container-escape/disk-opened"'
    )
    assert sorted(page(security)) == [
        f"eunomia_security_alerts_total{{{labels}}} 1.0",
        f"eunomia_security_warnings_total{{{labels}}} 2.0",
    ]


def test_many_containers_make_no_more_series_and_the_sum_is_right() -> None:
    security = Security("n1")
    for number in range(MAX_SERIES + 500):
        owner = Owner(number, "container", "shop", f"pod-{number}")
        security.count("shop/guard", "rule", WARNING, owner)
    lines = page(security)
    assert len(lines) == MAX_SERIES + 1
    assert sum(float(line.split()[-1]) for line in lines) == MAX_SERIES + 500
    (other,) = [line for line in lines if 'pod="other"' in line]
    assert other.endswith(" 500.0")


def test_containers_that_come_and_go_for_days_leave_room_for_those_of_today(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("eunomia_agent.metrics.security.time.monotonic", lambda: now[0])
    security = Security("n1")
    for number in range(3 * MAX_SERIES):
        now[0] += 2 * QUIET_SECONDS / MAX_SERIES
        owner = Owner(number, "container", "shop", f"pod-{number}")
        security.count("shop/guard", "rule", WARNING, owner)
        security.count("shop/guard", "rule", ALERT, WEB)
    lines = page(security)
    assert len(lines) <= MAX_SERIES + 2
    assert sum(float(line.split()[-1]) for line in lines) == 2 * 3 * MAX_SERIES
    assert any(f'pod="pod-{3 * MAX_SERIES - 1}"' in line for line in lines)
    (web,) = [line for line in lines if 'pod="web-0"' in line]
    assert web.endswith(" 3000.0")
