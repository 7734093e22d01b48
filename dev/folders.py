# SPDX-License-Identifier: Apache-2.0
"""The folders of the tools: the project, what is kept between runs, the cluster's state."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The root of the project's tree."""

CACHE = Path(os.environ.get("EUNOMIA_DEV_CACHE", "/var/cache/eunomia-dev"))
"""Binaries and images: all of it can be made again."""

STATE = Path("/var/lib/eunomia-dev")
"""All that belongs to the running cluster; gone after `down`."""
