# SPDX-License-Identifier: Apache-2.0
"""The project's figures, measured on this machine: `python -m bench`."""
