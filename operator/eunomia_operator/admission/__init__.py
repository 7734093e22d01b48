# SPDX-License-Identifier: Apache-2.0
"""The webhook that binds profiles to new pods, in every replica."""
