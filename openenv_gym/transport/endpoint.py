"""The address of a server."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from openenv_gym.errors import InvalidEndpointError
from openenv_gym.transport.cookies import Cookies
from openenv_gym.transport.credentials import Credentials
from openenv_gym.version import own_version

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# A URL has printable ASCII only (RFC 3986); urlsplit drops tabs and newlines in silence.
_QUERY = re.compile(r"[?#]")
_NOT_IN_A_URL = re.compile(r"[^!-~]|[\\<>\"^`{|}]")
# Labels of 1 to 63 characters (RFC 1035); some hosts have underscores.
_HOST_NAME = re.compile(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_ADVICE = "It looks like http://localhost:8000 or https://my-org-my-env.hf.space."


@dataclass(frozen=True)
class Endpoint:
    """The address of one server, and the credentials for it.

    Attributes:
        base_url: Its HTTP address, without a slash at the end.
        credentials: The key, headers and certificates for it.
        is_direct: Whether no proxy is used for it: it was started for an environment.
        cookies: The cookies that its responses have set.
    """

    base_url: str
    credentials: Credentials = field(default=Credentials(), repr=False)
    is_direct: bool = False
    cookies: Cookies = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cookies", Cookies(self.base_url))

    @classmethod
    def parse(
        cls,
        url: object,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
        is_direct: bool = False,
    ) -> Endpoint:
        """Parse a base URL with the scheme ``http``, ``https``, ``ws`` or ``wss``, and perhaps a path.

        ``is_direct`` is the attribute; the other arguments are those of `Credentials.of`.

        Raises:
            InvalidEndpointError: It is not the URL of a server.
            ConfigurationError: The key, a header or the file cannot be used.
        """
        if not isinstance(url, str) or not url.strip():
            raise InvalidEndpointError(f"base_url must be a string, got {url!r}.", advice=_ADVICE)
        url = url.strip()
        shown = _QUERY.split(url)[0]  # a query may be a secret
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidEndpointError(f"{shown!r} is not a base URL: {error}.", advice=_ADVICE) from error
        if "@" in parts.netloc:
            raise InvalidEndpointError(
                "A base URL must have no user and no password, because messages show it.",
                advice="Pass api_key= or headers= instead.",
            )
        if url != shown:
            raise InvalidEndpointError(
                f"A base URL must have no query and no fragment, but {shown} is followed by "
                f"{url[len(shown)]!r} and more.",
                advice="Leave it out. If it is a token, pass it as api_key=, which is sent as "
                '"Authorization: Bearer TOKEN", or as the header that the server expects in headers=.',
            )
        if bad := _NOT_IN_A_URL.search(url):
            raise InvalidEndpointError(
                f"{url!r} is not a base URL: it contains {bad[0]!r}.",
                advice=f"In a path, write {quote(bad[0])} for it; a host name cannot contain it.",
            )
        scheme = _HTTP_SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or port == 0:
            raise InvalidEndpointError(f"{url!r} is not a base URL.", advice=_ADVICE)
        if ":" not in parts.hostname and not _HOST_NAME.fullmatch(parts.hostname):
            raise InvalidEndpointError(
                f"{url!r} is not a base URL: {parts.hostname!r} is not a host name.", advice=_ADVICE
            )
        path = parts.path.rstrip("/").removesuffix("/ws")
        credentials = Credentials.of(api_key, headers, ca_file)
        return cls(f"{scheme}://{parts.netloc}{path}", credentials, is_direct)

    @property
    def websocket_url(self) -> str:
        """The address of its WebSocket."""
        return f"ws{self.base_url.removeprefix('http')}/ws"

    def headers_for(self, path: str) -> list[tuple[str, str]]:
        """The user's headers for a request, the cookies that a response has set, and the client's version.

        Args:
            path: The request's path below the base URL, with a slash in front.
        """
        headers = [(name, value) for name, value in self.credentials.headers if name.lower() != "cookie"]
        given = [value for name, value in self.credentials.headers if name.lower() == "cookie"]
        cookie = self.cookies.header(path, "; ".join(given))
        if cookie:
            headers.append(("Cookie", cookie))
        if not any(name.lower() == "user-agent" for name, _ in headers):
            headers.append(("User-Agent", _user_agent()))
        return headers

    def __str__(self) -> str:
        return self.base_url


@cache
def _user_agent() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return f"openenv-gym/{own_version()} Python/{python}"
