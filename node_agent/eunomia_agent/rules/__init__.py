# SPDX-License-Identifier: Apache-2.0
"""Judges rows by the rules of a policy, and tells of what breaks them."""
