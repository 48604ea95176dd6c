"""A line of JSON for each request, and for what goes wrong; never a text."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_LOGGERS = ("bertqa", "bertqa_serve", "uvicorn.error")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception is named, and its message, which may be a text, is not."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__qualname__
        return json.dumps(line)


def log_to_stderr(level: str) -> None:
    """Have this process log.

    Args:
        level: What is logged at least.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
    # It reports its own start and end, which the line with the address says already.
    logging.getLogger("uvicorn.error").setLevel("WARNING" if level == "INFO" else level)
