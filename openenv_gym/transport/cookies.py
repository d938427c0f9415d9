"""The cookies of an endpoint: load balancers tell a client's server by them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from email.message import Message
from http.cookiejar import CookieJar
from typing import Any, cast


class Cookies:
    """What an endpoint's responses have set.

    Every request to the endpoint shares them, HTTP and handshakes alike, so that a load balancer with sticky
    sessions leads all of them to one server. A pickle, which may go anywhere, has none.

    Args:
        base_url: The endpoint's base URL.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._jar = CookieJar()

    def header(self, path: str, given: str = "") -> str:
        """The value of the Cookie header of a request; "" for none.

        Args:
            path: The request's path below the base URL, with a slash in front.
            given: The user's own cookies.
        """
        if not len(self._jar):
            return given
        request = self._request(path)
        self._jar.add_cookie_header(request)
        return "; ".join(part for part in (given, request.get_header("Cookie")) if part)

    def update(self, path: str, lines: Iterable[str]) -> None:
        """Take over the ``Set-Cookie`` headers of a response."""
        response = Message()
        for line in lines:
            response["Set-Cookie"] = line
        if response:
            self._jar.extract_cookies(cast(Any, _Response(response)), self._request(path))

    def _request(self, path: str) -> urllib.request.Request:
        return urllib.request.Request(f"{self._base_url}{path}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Cookies:
        copy = Cookies(self._base_url)
        for cookie in self._jar:
            copy._jar.set_cookie(cookie)
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return Cookies, (self._base_url,)


class _Response:
    """A response as `CookieJar` reads it."""

    def __init__(self, headers: Message) -> None:
        self._headers = headers

    def info(self) -> Message:
        return self._headers
