# SPDX-License-Identifier: Apache-2.0
"""A thin binding to libbpf: objects, programs, maps, links and ring buffers, a noun a file."""
