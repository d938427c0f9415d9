"""Where a server is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from openenv_gym.errors import InvalidEndpointError

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_EXAMPLE = "It looks like http://localhost:8000 or https://my-org-my-env.hf.space"


@dataclass(frozen=True)
class Endpoint:
    """The address of one server.

    Attributes:
        base_url: Its HTTP address, without a slash at the end.
    """

    base_url: str

    @classmethod
    def parse(cls, url: object) -> Endpoint:
        """Reads a base URL; ``http``, ``https``, ``ws`` and ``wss`` all do, a path stays.

        Raises:
            InvalidEndpointError: It is not a URL of a server.
        """
        if not isinstance(url, str) or not url.strip():
            raise InvalidEndpointError(f"A base URL is a text, not {url!r}. {_EXAMPLE}.")
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise InvalidEndpointError(f"{url!r} is not a base URL: {error}. {_EXAMPLE}.") from error
        scheme = _HTTP_SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or port == 0:
            raise InvalidEndpointError(f"{url!r} is not a base URL. {_EXAMPLE}.")
        path = parts.path.rstrip("/").removesuffix("/ws")
        return cls(f"{scheme}://{parts.netloc}{path}")

    @property
    def websocket_url(self) -> str:
        """The address of its WebSocket."""
        return f"ws{self.base_url.removeprefix('http')}/ws"

    def __str__(self) -> str:
        return self.base_url
