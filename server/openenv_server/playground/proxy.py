"""A reverse proxy from a server's ``/web`` to the playground behind a Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    import httpx

# Headers of one connection only (RFC 9110, 7.6.1).
_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
# The path under which the server is, for the playground.
PREFIX_HEADER = "x-forwarded-prefix"
# Set here, whatever the client says.
_OURS = {"x-forwarded-host", "x-gradio-server", PREFIX_HEADER}


class Proxy:
    """Forwards requests.

    Args:
        path: The Unix socket.
    """

    def __init__(self, path: str) -> None:
        import httpx

        # A kept connection may be closed by the other side just when it is used again.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        # Not a client, which would keep the cookies of one visitor and send them for another.
        self._transport = httpx.AsyncHTTPTransport(uds=path, limits=limits)

    async def forward(self, request: Request, mount_path: str) -> Response:
        """Forward a request, and return the response, whose body is streamed.

        Args:
            request: The request.
            mount_path: The path below which the playground is, without a prefix.

        Raises:
            httpx.TransportError: The playground does not answer.
        """
        import httpx

        scope = request.scope
        root_path = scope.get("root_path", "")
        below = scope["path"].removeprefix(root_path)
        query = scope.get("query_string", b"").decode("latin-1")
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in _HOP_BY_HOP and name not in _OURS
        }
        # From these, and not from the request, Gradio makes the addresses in its pages.
        headers["x-gradio-server"] = f"{public_origin(request)}{root_path}{mount_path}"
        headers[PREFIX_HEADER] = root_path
        upstream = httpx.Request(
            request.method, _url(below, query), headers=headers, content=await request.body()
        )
        response = await self._transport.handle_async_request(upstream)
        kept = [
            (name.lower(), value)
            for name, value in response.headers.raw
            if name.lower().decode() not in _HOP_BY_HOP - {"content-length"}
        ]
        # A proxy in front may not hold back the events of a stream.
        kept.append((b"x-accel-buffering", b"no"))
        answer = StreamingResponse(_body(response), response.status_code)
        answer.raw_headers = kept
        return answer


def public_origin(request: Request) -> str:
    """The scheme and host by which the browser calls the server."""
    headers = request.headers
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    scheme = headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip()
    return f"{'https' if scheme == 'https' else 'http'}://{host}"


def _url(path: str, query: str) -> httpx.URL:
    import httpx

    raw = quote(path, safe="/:@!$&'()*+,;=-._~")
    return httpx.URL("http://playground").copy_with(raw_path=f"{raw}?{query}".rstrip("?").encode())


async def _body(response: httpx.Response) -> AsyncIterator[bytes]:
    import httpx

    try:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for part in response.stream:
            yield part
    except httpx.TransportError:  # the playground ended; so does the response
        return
    finally:
        await response.aclose()
