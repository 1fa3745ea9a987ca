"""Logs as JSON lines on standard error, each with the call that it belongs to."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

import orjson

from enginehouse.kit.current_call import current_call

# Attributes that logging itself puts on a record; all others came by `extra=`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, process, logger, msg, and request_id, trace_id and tenant inside a call."""

    def __init__(self, *, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record, with the fields given by `extra=`."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "msg": record.getMessage(),
        }
        call = current_call.get()
        if call is not None:
            line["method"] = call.method
            if call.request_id:
                line["request_id"] = call.request_id
            if call.trace_id:
                line["trace_id"] = call.trace_id
            if call.tenant:
                line["tenant"] = call.tenant
        line.update((key, value) for key, value in vars(record).items() if key not in _OWN)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=repr).decode()
        except TypeError:
            # Integers over 64 bits and text that is not valid Unicode.
            return json.dumps(line, default=repr)


def configure_logging(*, process: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logging to standard error as JSON lines. Call it once, from `__main__`.

    Args:
        process: the process's name, such as "router".
        level: the lowest level that is logged.
        stream: the stream to write to instead of standard error.
    """
    # gRPC's core writes lines of its own to standard error, not in JSON; only its errors are worth that.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(process=process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These log each of their requests or connections.
    for name in ("httpx", "httpcore", "grpc", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
