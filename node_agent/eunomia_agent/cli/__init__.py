# SPDX-License-Identifier: Apache-2.0
"""The command `eunomia`: the agent's trackers on one machine, without operator and cluster."""
