# SPDX-License-Identifier: Apache-2.0
"""The agent of one node: loads trackers, finds out whose events they are, hands them on."""
