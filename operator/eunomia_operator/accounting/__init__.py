# SPDX-License-Identifier: Apache-2.0
"""What nodes counted, added up so that it never goes down, whatever comes and goes."""
