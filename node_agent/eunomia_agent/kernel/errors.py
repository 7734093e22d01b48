# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between the agent and the kernel."""

import os
from collections.abc import Mapping

from eunomia_agent.errors import AgentError

ENOTSUPP = 524
"""include/linux/errno.h: meant to stay inside the kernel. BPF lets it out; libc has no words."""


def words(errno: int) -> str:
    """What an error number says to people."""
    return "this kernel has no support for it" if errno == ENOTSUPP else os.strerror(errno)


class KernelError(AgentError):
    """The kernel, or libbpf for it, refused something.

    errno: its number, 0 where there is none; attempted: what was tried; log: the verifier's words.
    """

    def __init__(self, attempted: str, errno: int = 0, *, log: str = "") -> None:
        self.attempted = attempted
        self.errno = errno
        self.log = log
        reason = f": {words(errno)}" if errno else ""
        said = f"\n{log}" if log else ""
        super().__init__(f"{attempted}{reason}{said}")


class ObjectInvalid(KernelError):
    """A file is not an object of BPF programs that this machine could load."""


class HookMissing(KernelError):
    """This kernel lacks hooks that are needed. missing: section of the object → reason."""

    def __init__(self, attempted: str, missing: Mapping[str, str]) -> None:
        self.missing = dict(missing)
        reasons = "; ".join(f"{section}: {reason}" for section, reason in missing.items())
        super().__init__(f"{attempted}: {reasons}")
