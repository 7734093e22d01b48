# SPDX-License-Identifier: Apache-2.0
"""What statuses say, and what of it is worth an Event. Pure."""
