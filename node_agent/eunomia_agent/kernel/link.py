# SPDX-License-Identifier: Apache-2.0
"""Links: a program's attachment to its hook."""

from typing import Protocol

from eunomia_agent.kernel.libbpf import library


class Attachment(Protocol):
    """What a program is called by until it is closed."""

    def close(self) -> None:
        """Detach."""
        ...


class Link:
    """An attachment; it lasts until it is closed."""

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer

    def close(self) -> None:
        """Detach. The program is not called any more once this returns."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            library().bpf_link__destroy(pointer)
