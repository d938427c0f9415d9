"""Keep keys out of the log, also out of what libraries write at ``LOG_LEVEL=debug``: headers, for one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from urllib.parse import quote

_HIDDEN = "***"
# ``authorization: Bearer KEY``, ``'Authorization': 'Bearer KEY'``, ``(b'cookie', b'a=b')``.
_HEADERS = ("(?:proxy-)?authorization", "(?:set-)?cookie")
# A shorter key would be found in all kinds of words.
_SHORTEST = 4


class SecretFilter(logging.Filter):
    """Hides keys and credentials in the messages and tracebacks of log records."""

    def __init__(self) -> None:
        super().__init__()
        self._known: frozenset[str] = frozenset()
        self._header = _pattern(_HEADERS)
        self._secrets: re.Pattern[str] | None = None

    def hide(self, key: str) -> None:
        """Hide a key, and how it is written in JSON, in Python's quotes and in a URL."""
        if len(key) >= _SHORTEST and key not in self._known:
            self._known |= {key, json.dumps(key)[1:-1], repr(key)[1:-1], quote(key, safe="")}
            longest_first = sorted(self._known, key=len, reverse=True)
            self._secrets = re.compile("|".join(map(re.escape, longest_first)))

    def hide_header(self, name: str) -> None:
        """Hide the values of another header."""
        self._header = _pattern((*_HEADERS, re.escape(name)))

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception as error:
            # As `logging` itself does, do not fail the call that logs.
            record.msg, record.args = (
                f"A log message of {record.pathname}:{record.lineno} failed: {error!r}",
                None,
            )
            message = record.msg
        if (shown := self._shown(message)) != message:
            record.msg, record.args = shown, None
        if record.exc_info and not record.exc_text:
            # Handlers use the text if there is one.
            record.exc_text = self._shown(logging.Formatter().formatException(record.exc_info))
        return True

    def _shown(self, text: str) -> str:
        text = self._header.sub(rf"\1\2{_HIDDEN}", text)
        return text if self._secrets is None else self._secrets.sub(_HIDDEN, text)


def _pattern(headers: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(headers)})(['\"]?\s*[:=,]\s*(?:b?['\"])?)[^'\"\r\n]+", re.IGNORECASE)


# One for the process, as logging is.
secret_filter = SecretFilter()


def hide_in_logs(keys: Iterable[str], header: str | None = None) -> None:
    """Hide keys in what uvicorn logs, also where its own command configures the logs.

    Args:
        keys: The keys.
        header: A header whose values are hidden as well.
    """
    for key in keys:
        secret_filter.hide(key)
    if header is not None:
        secret_filter.hide_header(header)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(secret_filter)
