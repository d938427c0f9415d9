"""Requests that are refused or cut on purpose."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class Fault:
    """What happens to requests that fit.

    Attributes:
        request: A regular expression for METHOD /path.
        status: The status of the answer; None cuts the connection.
        when: A cut comes before anything is done, in the middle of the request's body, or when all is done
            and only the answer is lost.
        times: For so many requests.
        message: The error's text.
        headers: Further headers of the answer.
    """

    request: str
    status: int | None = None
    when: Literal["before", "middle", "after"] = "before"
    times: int = 1
    message: str = "on purpose"
    headers: dict[str, str] = field(default_factory=dict)


class Faulty:
    """An application with faults; writes down each request."""

    def __init__(self, app: Any, faults: list[Fault], requests: list[str]) -> None:
        self._app, self._faults, self._requests = app, faults, requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = f"{scope['method']} {scope['path']}"
        query = scope["query_string"].decode()
        self._requests.append(f"{request}?{query}" if query else request)
        fault = next(
            (fault for fault in self._faults if fault.times and re.search(fault.request, request)), None
        )
        if fault is None:
            await self._app(scope, receive, send)
            return
        fault.times -= 1
        if fault.status is not None:
            await _refuse(fault, receive, send)
            return
        if fault.when == "middle":
            assert (await receive())["body"]
        elif fault.when == "after":
            await self._app(scope, receive, _nowhere)
        # uvicorn's own: ASGI has no way to break a connection.
        receive.__self__.transport.abort()


async def _refuse(fault: Fault, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    body = json.dumps({"error": fault.message}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **fault.headers}
    await send(
        {
            "type": "http.response.start",
            "status": fault.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _nowhere(message: Any) -> None:
    pass
