# SPDX-License-Identifier: Apache-2.0
"""The C library's heap, which Python shares with libbpf, numpy and gRPC."""

import ctypes


def trim() -> None:
    """Give free memory back to the kernel, where the C library can (glibc: malloc_trim(3)).

    libbpf holds the kernel's types, some 6 MB, each time it loads or probes, and glibc keeps what
    was freed in the heap of the thread that freed it.
    """
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(ctypes.c_size_t(0))
