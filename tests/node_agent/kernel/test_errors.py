# SPDX-License-Identifier: Apache-2.0
"""What the kernel refuses, in words."""

import errno

from eunomia_agent.kernel.errors import KernelError


def test_a_number_that_libc_has_no_words_for_is_told_in_ours() -> None:
    """arm64 before Linux 6.4 answers so where a program would be put on a function."""
    assert str(KernelError("program x cannot be attached", 524)) == (
        "program x cannot be attached: this kernel has no support for it"
    )
    assert str(KernelError("it", errno.EPERM)) == "it: Operation not permitted"
    assert str(KernelError("it")) == "it"
