"""The keys of a server: several that open it, and one that only reads its metrics."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers

from openenv_gym.errors import ConfigurationError
from openenv_gym.process_key import read_key_file
from openenv_server.security.secrets import hide_in_logs
from openenv_server.settings import Settings

log = logging.getLogger("openenv_server")


class Keys:
    """The keys of a server. Each one, once it is known, is hidden in the log.

    Args:
        settings: The keys, the file with further ones, and the header for them.

    Raises:
        ConfigurationError: The file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._header = settings.openenv_api_key_header
        self._file = settings.openenv_api_key_file
        self._keys = _bytes_of(settings.api_keys())
        self._metrics_keys = _bytes_of(settings.metrics_keys())
        self._file_keys: list[bytes] = []
        self._read_at: object = None
        hide_in_logs([*settings.api_keys(), *settings.metrics_keys()], self._header)
        if self._file is not None:
            self._read_at = _version(self._file)
            self._take(read_key_file(self._file))

    @property
    def are_required(self) -> bool:
        """Whether requests have to show a key."""
        return bool(self._keys) or self._file is not None

    def may_come_in(self, headers: Headers) -> bool:
        """Whether a request shows a key that opens the server, or needs none."""
        return not self.are_required or self._shows_one_of(headers, self._opening())

    def may_read_metrics(self, headers: Headers) -> bool:
        """Whether a request shows a key that opens the metrics, or needs none."""
        if not self._metrics_keys:
            return self.may_come_in(headers)
        return self._shows_one_of(headers, [*self._metrics_keys, *self._opening()])

    def advice(self) -> str:
        """How to show a key."""
        other = f", or {self._header}: KEY" if self._header else ""
        return f"Authorization: Bearer KEY{other}"

    def _shows_one_of(self, headers: Headers, keys: Iterable[bytes]) -> bool:
        """Whether there is exactly one ``Authorization``, or one header for keys, with one of them in it."""
        shown = []
        if len(authorizations := headers.getlist("authorization")) == 1:
            scheme, _, token = authorizations[0].encode("latin-1").partition(b" ")
            if scheme.lower() == b"bearer":
                shown.append(token.strip())
        if self._header and len(values := headers.getlist(self._header)) == 1:
            shown.append(values[0].encode("latin-1").strip())
        # In constant time, so that nobody can guess a key byte by byte from the response time.
        return any(hmac.compare_digest(token, key) for token in shown for key in keys)

    def _opening(self) -> list[bytes]:
        """The keys that open the server. The file is read if it has changed."""
        if self._file is not None and (version := _version(self._file)) != self._read_at:
            self._read_at = version
            try:
                self._take(read_key_file(self._file))
            except ConfigurationError as error:
                log.error("%s The keys that it had are still valid", error)
            else:
                log.warning("the keys in %s have changed: %d are valid", self._file, len(self._file_keys))
        return [*self._keys, *self._file_keys]

    def _take(self, keys: list[str]) -> None:
        hide_in_logs(keys)
        self._file_keys = _bytes_of(keys)


def _bytes_of(keys: Iterable[str]) -> list[bytes]:
    return [key.encode() for key in keys]


def _version(file: str) -> object:
    """Something that differs once a file has changed; a mounted secret is replaced as a link."""
    try:
        found = Path(file).stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_ino, found.st_size
