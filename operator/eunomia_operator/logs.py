# SPDX-License-Identifier: Apache-2.0
"""Logs as JSON lines on standard error."""

import json
import logging
import sys

from eunomia_operator import clock


class JsonLines(logging.Formatter):
    """One JSON object a record; whatever a message holds stays on its line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        line = {
            "time": clock.written(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def set_up(level: int) -> None:
    """Send all logs to standard error. What libraries say comes from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("eunomia").setLevel(level)
