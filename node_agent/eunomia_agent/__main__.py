# SPDX-License-Identifier: Apache-2.0
"""Starts the agent of a node: `python -m eunomia_agent`."""

import asyncio
import contextlib
import logging
import os
import signal
import sys

from eunomia_agent.errors import AgentError
from eunomia_agent.node import serve
from eunomia_agent.settings import Settings

logger = logging.getLogger("eunomia")


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 2 when the machine lacks something."""
    try:
        settings = Settings.from_environment(os.environ)
        logging.basicConfig(
            stream=sys.stderr,
            level=settings.log_level,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        asyncio.run(_until_told(settings))
    except AgentError as error:
        sys.stderr.write(f"eunomia: {error}\n")
        return 2
    return 0


async def _until_told(settings: Settings) -> None:
    task = asyncio.create_task(serve(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
