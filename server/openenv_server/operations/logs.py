"""Log formats: lines of text for people, or one JSON object a line for machines."""

from __future__ import annotations

import copy
import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from openenv_server.operations.streams import log_what_is_printed, print_as_before, real_stream
from openenv_server.security.secrets import secret_filter
from openenv_server.sessions.running import running_session
from openenv_server.settings import LogFormat, LogLevel

# The attributes of every record. All others were passed as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

# What ends a line, is read by a terminal, or reverses the order of what follows.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

# The paths of probes and of scrapes.
_PROBES = ("/health", "/live", "/ready", "/metrics")

log = logging.getLogger("openenv_server")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    Fields: ``time``, ``level``, ``logger`` and ``message``, then the extra fields, ``session`` and ``client``
    if an environment is running, and ``traceback`` if the record has one.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if "session" not in extra and (session := running_session()) is not None:
            extra |= {"session": session.id, "client": session.client.address}
        fields = {**fields, **extra, **fields}  # extra fields cannot replace the first four
        if record.exc_info:
            fields["traceback"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """A record as a line of text, with the time in UTC.

    Control characters in it are escaped, so that no message looks like another record. The lines of a
    traceback follow, each after two spaces.
    """

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)  # the original keeps a traceback that is formatted
        if record.exc_text:  # `SecretFilter` has formatted it
            shown.exc_text = _indented(record.exc_text)
        return super().format(shown)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _CONTROLS.sub(_escaped, super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _time_of(record)


def configure_logs(log_format: LogFormat, level: LogLevel) -> None:
    """Send all logs of this process to standard error: the server's, uvicorn's and the environment's.

    As JSON, also what is printed. Probes and scrapes that succeed are logged at ``debug`` only.

    Call it before importing an environment, so that the environment's own configuration wins.
    """
    handler = logging.StreamHandler(real_stream(sys.stderr))
    handler.addFilter(secret_filter)
    if level != "debug":
        handler.addFilter(_is_no_probe)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    if log_format == "json":
        log_what_is_printed(handler)
    else:
        print_as_before()
    threading.excepthook = _log_thread_failure


def listening_line(log_format: LogFormat, base_url: str) -> str:
    """The line of standard output that says that a server listens: its URL, or a record with it."""
    if log_format == "text":
        return base_url
    fields = {"name": log.name, "levelname": "INFO", "msg": f"listening at {base_url}", "url": base_url}
    return JsonFormatter().format(logging.makeLogRecord(fields))


def _is_no_probe(record: logging.LogRecord) -> bool:
    """Whether a record is anything else than uvicorn's line for a probe or a scrape that succeeded."""
    if record.name != "uvicorn.access" or not isinstance(record.args, tuple) or len(record.args) != 5:
        return True
    _, method, path, _, status = record.args
    is_probe = method in ("GET", "HEAD") and str(path).partition("?")[0].endswith(_PROBES)
    return not is_probe or not isinstance(status, int) or status >= HTTPStatus.BAD_REQUEST


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()


def _indented(lines: str) -> str:
    return "\n".join(f"  {_CONTROLS.sub(_escaped, line)}" for line in lines.split("\n"))


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log what ends a thread. Python itself would print the traceback, which is no JSON."""
    name = failure.thread.name if failure.thread is not None else "(ended)"
    error = failure.exc_value
    log.error("the thread %s failed", name, exc_info=error if error is not None else failure.exc_type())
