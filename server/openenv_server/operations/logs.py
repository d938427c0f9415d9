"""Log formats: lines of text for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime

from openenv_server.security.secrets import secret_filter
from openenv_server.settings import LogFormat, LogLevel

# The attributes of every record. All others were passed as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

log = logging.getLogger("openenv_server")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    Fields: ``time``, ``level``, ``logger`` and ``message``, then the extra fields, and ``traceback`` if the
    record has one.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = {**fields, **extra, **fields}  # extra fields cannot replace the first four
        if record.exc_info:
            fields["traceback"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """A record as text, with the time in UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _time_of(record)


def configure_logs(log_format: LogFormat, level: LogLevel) -> None:
    """Send all logs of this process to standard error: the server's, uvicorn's and the environment's.

    Call it before importing an environment, so that the environment's own configuration wins.
    """
    handler = logging.StreamHandler()
    handler.addFilter(secret_filter)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_failure


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log what ends a thread. Python itself would print the traceback, which is no JSON."""
    name = failure.thread.name if failure.thread is not None else "(ended)"
    error = failure.exc_value
    log.error("the thread %s failed", name, exc_info=error if error is not None else failure.exc_type())
