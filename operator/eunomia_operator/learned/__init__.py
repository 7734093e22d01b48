# SPDX-License-Identifier: Apache-2.0
"""What becomes of what was learned of containers: seccomp profiles and capabilities. Pure."""
