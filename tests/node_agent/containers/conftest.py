# SPDX-License-Identifier: Apache-2.0
"""Cgroup records as the kernel makes them, and a container runtime in memory."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import RuntimeUnavailable

CgroupRecord = Callable[..., bytes]


@pytest.fixture
def cgroup_record() -> CgroupRecord:
    """Make one `struct cgroup_event`."""

    def make(cgroup_id: int, path: str = "", *, gone: bool = False, kind: int = 0) -> bytes:
        text = os.fsencode(path)
        head = struct.Struct("=QQQQIIII")
        return (
            head.pack(
                1, cgroup_id, 1, 0, kind or (2 if gone else 1), 0, len(text) << 16 | head.size, 0
            )
            + text
        )

    return make


@dataclass
class RuntimeInMemory:
    """A `Runtime` whose pods and containers the test puts there. down: it does not answer."""

    held: dict[str, Container | Sandbox] = field(default_factory=dict)
    down: RuntimeUnavailable | None = None
    asked: list[str] = field(default_factory=list)

    def add(self, *identities: Container | Sandbox) -> None:
        self.held.update({identity.id: identity for identity in identities})

    async def container(self, container_id: str) -> Container | None:
        found = self._found(container_id)
        return found if isinstance(found, Container) else None

    async def sandbox(self, sandbox_id: str) -> Sandbox | None:
        found = self._found(sandbox_id)
        return found if isinstance(found, Sandbox) else None

    async def containers(self) -> list[Container]:
        self._answers()
        return [each for each in self.held.values() if isinstance(each, Container)]

    async def sandboxes(self) -> list[Sandbox]:
        self._answers()
        return [each for each in self.held.values() if isinstance(each, Sandbox)]

    def _found(self, identity: str) -> Container | Sandbox | None:
        self._answers()
        self.asked.append(identity)
        return self.held.get(identity)

    def _answers(self) -> None:
        if self.down:
            raise self.down


@pytest.fixture
def runtime() -> RuntimeInMemory:
    return RuntimeInMemory()
