# SPDX-License-Identifier: Apache-2.0
"""What a shell offers for a word that was begun."""

from contextlib import suppress

from eunomia_agent.cli.catalogue import catalogue


def tracker_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the names of trackers, each with its help."""
    found = catalogue().trackers.values()
    return [(each.name, each.help) for each in found if each.name.startswith(incomplete)]


def container_names(incomplete: str) -> list[str]:
    """Return the names of containers and of pods, as the runtimes know them."""
    # ruff: noqa: PLC0415  (slow, and seldom needed)
    import asyncio

    from eunomia_agent.cli.runtime import open_runtime
    from eunomia_agent.containers.runtime import Container
    from eunomia_agent.errors import AgentError

    async def listed() -> list[Container]:
        async with open_runtime() as runtime:
            return await runtime.containers() if runtime is not None else []

    with suppress(AgentError, OSError):
        known = asyncio.run(listed())
        names = {each.name for each in known} | {each.sandbox.pod for each in known} - {""}
        return sorted(name for name in names if name.startswith(incomplete) and name.isprintable())
    return []
