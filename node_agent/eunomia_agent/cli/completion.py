# SPDX-License-Identifier: Apache-2.0
"""What a shell offers for a word that was begun."""

import asyncio
from contextlib import suppress

from eunomia_agent.errors import AgentError


def container_names(incomplete: str) -> list[str]:
    """Return the names of containers and of pods, as the runtime knows them."""
    from eunomia_agent.cli.containers import listed  # noqa: PLC0415  (slow, and seldom needed)

    with suppress(AgentError, OSError):
        found = asyncio.run(listed())
        names = {each.name for each in found} | {each.sandbox.pod for each in found}
        return sorted(name for name in names if name.startswith(incomplete))
    return []
