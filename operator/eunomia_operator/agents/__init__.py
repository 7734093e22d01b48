# SPDX-License-Identifier: Apache-2.0
"""The streams of the agents."""
