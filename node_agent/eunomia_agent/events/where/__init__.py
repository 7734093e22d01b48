# SPDX-License-Identifier: Apache-2.0
"""`where` on whole columns of a batch; what may be written is in `eunomia_api.where`."""

from eunomia_agent.events.where.evaluation import in_order, mask, met

__all__ = ["in_order", "mask", "met"]
