"""The address of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from openenv_gym.errors import InvalidEndpointError
from openenv_gym.transport.credentials import Credentials

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_ADVICE = "It looks like http://localhost:8000 or https://my-org-my-env.hf.space."


@dataclass(frozen=True)
class Endpoint:
    """The address of one server, and the credentials for it.

    Attributes:
        base_url: Its HTTP address, without a slash at the end.
        credentials: The key, headers and certificates for it.
    """

    base_url: str
    credentials: Credentials = field(default=Credentials(), repr=False)

    @classmethod
    def parse(
        cls,
        url: object,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
    ) -> Endpoint:
        """Parse a base URL with the scheme ``http``, ``https``, ``ws`` or ``wss``, and perhaps a path.

        The other arguments are those of `Credentials.of`.

        Raises:
            InvalidEndpointError: It is not the URL of a server.
            ConfigurationError: The key, a header or the file cannot be used.
        """
        if not isinstance(url, str) or not url.strip():
            raise InvalidEndpointError(f"base_url must be a string, got {url!r}.", advice=_ADVICE)
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise InvalidEndpointError(f"{url!r} is not a base URL: {error}.", advice=_ADVICE) from error
        if "@" in parts.netloc:
            raise InvalidEndpointError(
                "A base URL must have no user and no password, because messages show it.",
                advice="Pass api_key= or headers= instead.",
            )
        scheme = _HTTP_SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or port == 0:
            raise InvalidEndpointError(f"{url!r} is not a base URL.", advice=_ADVICE)
        path = parts.path.rstrip("/").removesuffix("/ws")
        credentials = Credentials.of(api_key, headers, ca_file)
        return cls(f"{scheme}://{parts.netloc}{path}", credentials)

    @property
    def websocket_url(self) -> str:
        """The address of its WebSocket."""
        return f"ws{self.base_url.removeprefix('http')}/ws"

    def __str__(self) -> str:
        return self.base_url
