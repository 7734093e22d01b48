# SPDX-License-Identifier: Apache-2.0
"""Trackers: their descriptions, one running tracker, and the account of its events."""
