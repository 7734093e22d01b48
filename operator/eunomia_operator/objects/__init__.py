# SPDX-License-Identifier: Apache-2.0
"""The objects that the operator watches, and each one as it follows it."""
