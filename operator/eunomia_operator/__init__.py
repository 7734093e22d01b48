# SPDX-License-Identifier: Apache-2.0
"""The operator: turns jobs into each node's desired state, and agents' reports into status."""

VERSION = "0.1.0"
