# SPDX-License-Identifier: Apache-2.0
"""Who a cgroup belongs to: paths, the container runtime's word, and the index of the two."""
