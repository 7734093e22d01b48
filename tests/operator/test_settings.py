# SPDX-License-Identifier: Apache-2.0
"""Settings come from the environment, and a wrong one is named."""

import logging
from datetime import timedelta

import pytest

from eunomia_operator.errors import SettingsInvalid
from eunomia_operator.settings import from_environment, split


def test_a_namespace_is_all_it_needs() -> None:
    settings = from_environment({"EUNOMIA_NAMESPACE": "eunomia"})
    assert settings.grpc_address == "0.0.0.0:9443"
    assert settings.kubeconfig is None
    assert settings.server_names == (
        "eunomia-operator",
        "eunomia-operator.eunomia",
        "eunomia-operator.eunomia.svc",
        "eunomia-operator.eunomia.svc.cluster.local",
        "localhost",
    )


def test_everything_can_be_set() -> None:
    settings = from_environment(
        {
            "EUNOMIA_NAMESPACE": "n",
            "EUNOMIA_IDENTITY": "pod-1",
            "EUNOMIA_SERVICE": "s",
            "EUNOMIA_CLUSTER_DOMAIN": "corp",
            "EUNOMIA_AGENT_SERVICE_ACCOUNT": "a",
            "EUNOMIA_AUDIENCE": "x",
            "EUNOMIA_GRPC_ADDRESS": "[::]:1",
            "EUNOMIA_HTTP_ADDRESS": "[::1]:2",
            "EUNOMIA_WEBHOOK_CERTIFICATE_SECONDS": "3600",
            "EUNOMIA_LOG_LEVEL": "debug",
        }
    )
    assert (settings.identity, settings.agent_account, settings.audience) == ("pod-1", "a", "x")
    assert settings.server_names[3] == "s.n.svc.corp"
    assert settings.log_level == logging.DEBUG
    assert settings.webhook_certificate_life == timedelta(hours=1)
    assert split(settings.http_address) == ("::1", 2)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("EUNOMIA_NAMESPACE", "", "is not set"),
        ("EUNOMIA_GRPC_ADDRESS", "9443", "must be HOST:PORT"),
        ("EUNOMIA_HTTP_ADDRESS", "host:http", "must be HOST:PORT"),
        ("EUNOMIA_WEBHOOK_CERTIFICATE_SECONDS", "3", "seconds from 20 to 7776000"),
        ("EUNOMIA_WEBHOOK_CERTIFICATE_SECONDS", "1h", "seconds from 20 to 7776000"),
        ("EUNOMIA_LOG_LEVEL", "LOUD", "use one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, why: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{name}.*{why}"):
        from_environment({"EUNOMIA_NAMESPACE": "n", name: value})
