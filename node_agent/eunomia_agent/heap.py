# SPDX-License-Identifier: Apache-2.0
"""The C library's heap, which Python shares with libbpf, numpy and gRPC.

Of glibc; under another C library nothing is done. libbpf takes some 6 MB for the kernel's types
each time it loads or probes, and a tracker's reader as much as its ring: freed into the heap, the
one would be used for the other, and stay resident although hardly any of it is ever written.
"""

import ctypes

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 256 * 1024


def map_large_blocks() -> None:
    """Have blocks of 256 KiB and more mapped each on their own, and unmapped when freed.

    By default that is so up to the first one that is freed: mallopt(3), on the dynamic threshold.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)


def trim() -> None:
    """Give free memory back to the kernel: malloc_trim(3)."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))
