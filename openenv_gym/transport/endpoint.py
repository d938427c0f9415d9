"""Where a server is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from openenv_gym.errors import InvalidEndpointError
from openenv_gym.transport.credentials import Credentials

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_NO_PASSWORD = (
    "A base URL has no user and no password, as it is shown in messages; pass api_key= or headers= instead"
)
_EXAMPLE = "It looks like http://localhost:8000 or https://my-org-my-env.hf.space"


@dataclass(frozen=True)
class Endpoint:
    """The address of one server, and what to show it.

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
        """Reads a base URL; ``http``, ``https``, ``ws`` and ``wss`` all do, a path stays.

        The others are those of `Credentials.of`.

        Raises:
            InvalidEndpointError: It is not a URL of a server.
            ConfigurationError: The key, a header or the file cannot be used.
        """
        if not isinstance(url, str) or not url.strip():
            raise InvalidEndpointError(f"A base URL is a text, not {url!r}. {_EXAMPLE}.")
        try:
            parts = urlsplit(url.strip())
            if "@" in parts.netloc:
                raise InvalidEndpointError(_NO_PASSWORD)
            port = parts.port
        except InvalidEndpointError:
            raise
        except ValueError as error:
            raise InvalidEndpointError(f"{url!r} is not a base URL: {error}. {_EXAMPLE}.") from error
        scheme = _HTTP_SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or port == 0:
            raise InvalidEndpointError(f"{url!r} is not a base URL. {_EXAMPLE}.")
        path = parts.path.rstrip("/").removesuffix("/ws")
        credentials = Credentials.of(api_key, headers, ca_file)
        return cls(f"{scheme}://{parts.netloc}{path}", credentials)

    @property
    def websocket_url(self) -> str:
        """The address of its WebSocket."""
        return f"ws{self.base_url.removeprefix('http')}/ws"

    def __str__(self) -> str:
        return self.base_url
