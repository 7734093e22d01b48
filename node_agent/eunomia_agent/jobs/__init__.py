# SPDX-License-Identifier: Apache-2.0
"""The jobs of the node: what is asked of it, what runs, and rows on their way."""
