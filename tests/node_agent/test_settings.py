# SPDX-License-Identifier: Apache-2.0
"""What the agent takes from its environment."""

import pytest

from eunomia_agent.settings import Settings


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("10.213.8.1", "10.213.8.1"),
        ("FD00:10:96:0::1", "fd00:10:96::1"),  # as rows show addresses
        ("api.cluster.example", ""),
        ("", ""),
    ],
)
def test_the_api_server_is_known_by_the_address_that_the_kubelet_tells(
    given: str, known: str
) -> None:
    environment = {"NODE_NAME": "n1", "KUBERNETES_SERVICE_HOST": given}
    assert Settings.from_environment(environment).kubernetes_api == known
    assert Settings.from_environment({"NODE_NAME": "n1"}).kubernetes_api == ""
