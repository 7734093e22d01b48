# SPDX-License-Identifier: Apache-2.0
"""Alerts of broken rules: taken in, written down, and answered."""
