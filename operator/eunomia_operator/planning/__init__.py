# SPDX-License-Identifier: Apache-2.0
"""What each node shall do, and who gets a place on it. Pure."""
