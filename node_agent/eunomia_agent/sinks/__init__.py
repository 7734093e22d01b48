# SPDX-License-Identifier: Apache-2.0
"""Where rows go. A sink never raises: it says how many rows it took, and what is wrong."""
