"""A client's key and headers for a server, and the certificates that it trusts."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from openenv_gym.errors import ConfigurationError
from openenv_gym.process_key import process_key
from openenv_gym.wire import bearer

_VALUE = re.compile(r"[ -~]*")
_AUTHORIZATION = "Authorization"


@dataclass(frozen=True, repr=False)
class Credentials:
    """The key, further headers, and the trusted certificates of one server.

    No repr contains a secret. A deep copy has everything. A pickle, which may go anywhere, has neither key
    nor headers; unpickling takes the key from the environment variable.

    Attributes:
        headers: The headers of each request and each handshake, including the key.
        ca_file: The PEM file with the certificates to trust; None trusts those that the machine trusts.
    """

    headers: tuple[tuple[str, str], ...] = ()
    ca_file: str | None = None

    @classmethod
    def of(
        cls,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
    ) -> Credentials:
        """Validate a user's input.

        Args:
            api_key: The key; "" for none. By default, that of `OPENENV_API_KEY` or `OPENENV_API_KEY_FILE`.
            headers: Further headers.
            ca_file: A PEM file with the certificates to trust instead of the machine's.

        Raises:
            ConfigurationError: One of them cannot be used. No message contains a key or a header's value.
        """
        given = dict(headers or {})
        for name, value in given.items():
            if not (isinstance(name, str) and bearer.is_header(name)):
                raise ConfigurationError(f"headers= has the invalid header name {name!r}.")
            if not (isinstance(value, str) and _VALUE.fullmatch(value)):
                raise ConfigurationError(f"The value of header {name} must be one line of printable ASCII.")
        key_header = _key_header()
        has_key = key_header.lower() in {name.lower() for name in given}
        if has_key and api_key:
            raise ConfigurationError(f"headers= has an {key_header}. Pass that or api_key=, not both.")
        source = "api_key="
        if api_key is None and not has_key:
            source, api_key = f"${bearer.VARIABLE}", process_key()
        if api_key:
            if not (isinstance(api_key, str) and bearer.is_key(api_key)):
                raise ConfigurationError(
                    f"{source} is not a key. A key has printable ASCII characters and no spaces."
                )
            if key_header != _AUTHORIZATION:
                given[key_header] = api_key
            # Also where the key has a header of its own: not all servers know that one.
            if _AUTHORIZATION.lower() not in {name.lower() for name in given}:
                given[_AUTHORIZATION] = bearer.authorization(api_key)
        credentials = cls(tuple(given.items()), None if ca_file is None else os.fspath(ca_file))
        if ca_file is not None:
            _ = credentials.tls  # fail now, not in the middle of a training
        return credentials

    @property
    def shows_key(self) -> bool:
        """Whether the headers have a key, or another ``Authorization``."""
        shown = {_AUTHORIZATION.lower(), _key_header().lower()}
        return any(name.lower() in shown for name, _ in self.headers)

    @property
    def key(self) -> str | None:
        """The key in the headers."""
        shown = {name.lower(): value for name, value in self.headers}
        key_header = _key_header()
        if key_header != _AUTHORIZATION and (key := shown.get(key_header.lower())):
            return key
        return bearer.key_in(shown.get(_AUTHORIZATION.lower(), ""))

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The check of a server's certificate, for https and wss.

        Raises:
            ConfigurationError: The file has no certificates.
        """
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"ca_file={self.ca_file!r} cannot be used ({error}). It must be a PEM file with certificates."
            ) from error

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _without_secrets, (self.ca_file,)

    def __repr__(self) -> str:
        return f"Credentials(…, ca_file={self.ca_file!r})"


def _key_header() -> str:
    """The header for the key, from the environment variable.

    Raises:
        ConfigurationError: It is not the name of a header.
    """
    name = os.environ.get(bearer.HEADER_VARIABLE) or _AUTHORIZATION
    if not bearer.is_header(name):
        raise ConfigurationError(f"{bearer.HEADER_VARIABLE} is not the name of a header: {name!r}.")
    return _AUTHORIZATION if name.lower() == _AUTHORIZATION.lower() else name


def key_to_ask_for(api_key: str | None, headers: Mapping[str, str] | None = None) -> str | None:
    """The key that a server must ask for, so that only a client with these arguments gets in.

    Returns:
        "" if the client should send none, and None if the arguments do not say.

    Raises:
        ConfigurationError: As `Credentials.of`.
    """
    return Credentials.of(api_key, headers).key or api_key


def _without_secrets(ca_file: str | None) -> Credentials:
    return Credentials(Credentials.of().headers, ca_file)
