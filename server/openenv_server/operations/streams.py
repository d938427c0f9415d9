"""Standard streams whose lines become log records, for environments that print."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import Any, TextIO


class LogStream(io.TextIOBase):
    """Takes the place of ``sys.stdout`` or ``sys.stderr``, and hands each line to a handler of the log.

    A record is made at every `LOG_LEVEL`, so nothing that is printed is lost. Its level is ``info``, and its
    logger the name of the stream. Each thread has its own line, so lines of several are not mixed.

    Args:
        name: The name of the stream.
        real: The stream that it replaces.
        handler: The handler.
    """

    encoding = "utf-8"
    errors: str = "backslashreplace"

    def __init__(self, name: str, real: TextIO, handler: logging.Handler) -> None:
        self.real = real
        self._name, self._handler = name, handler
        self._local = threading.local()
        self.buffer: _Bytes = _Bytes(self)

    def write(self, text: str) -> int:
        """Take a part of a line, or several lines."""
        if getattr(self._local, "is_logging", False):  # the handler itself failed, and says so
            return self.real.write(text)
        *lines, rest = (getattr(self._local, "line", "") + text).split("\n")
        self._local.line = rest
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Log this thread's unfinished line."""
        line, self._local.line = getattr(self._local, "line", ""), ""
        self._log(line)

    def fileno(self) -> int:
        """The file descriptor of the real stream; what is written to it directly is not seen here."""
        return self.real.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    def _log(self, line: str) -> None:
        line = line.rstrip("\r")
        if not line:
            return
        self._local.is_logging = True
        try:
            self._handler.handle(
                logging.LogRecord(self._name, logging.INFO, "", 0, line, None, None)  # no place in a file
            )
        finally:
            self._local.is_logging = False


class _Bytes(io.RawIOBase):
    """The ``buffer`` of a `LogStream`."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data).decode(errors=LogStream.errors))
        return len(data)


def real_stream(stream: TextIO) -> TextIO:
    """The stream that a `LogStream` replaces, or the stream itself."""
    return stream.real if isinstance(stream, LogStream) else stream


def log_what_is_printed(handler: logging.Handler) -> None:
    """Replace both standard streams of this process by a `LogStream`."""
    sys.stdout = LogStream("stdout", real_stream(sys.stdout), handler)
    sys.stderr = LogStream("stderr", real_stream(sys.stderr), handler)


def print_as_before() -> None:
    """Undo `log_what_is_printed`."""
    sys.stdout, sys.stderr = real_stream(sys.stdout), real_stream(sys.stderr)
