"""What the server logs: lines of text for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime

from openenv_server.settings import LogFormat, LogLevel

# What each record has. Whatever else one has was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

log = logging.getLogger("openenv_server")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    It has ``time``, ``level``, ``logger`` and ``message``, then its extra fields, and a ``traceback`` where
    there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = {**fields, **extra, **fields}  # none of the first four is ever another's
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """A record as text, with the time in UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _time_of(record)


def configure_logs(log_format: LogFormat, level: LogLevel) -> None:
    """Sends all that is logged in this process to standard error: ours, uvicorn's, and the environment's.

    Call it before an environment's own code is imported, so that what that configures holds.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_failure


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    """Python itself would print the traceback, which is no line of JSON."""
    name = failure.thread.name if failure.thread is not None else "that has ended"
    error = failure.exc_value
    log.error("the thread %s failed", name, exc_info=error if error is not None else failure.exc_type())
