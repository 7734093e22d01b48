# SPDX-License-Identifier: Apache-2.0
"""What goes between the agent and the operator."""
