"""A server that speaks the protocols of OpenAI and Anthropic, with answers that a test gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]  # in lower case
    body: dict[str, Any]


class ModelServer:
    """Answers each request with the next of `answers`, the last one again and again; keeps the requests.

    An answer is a text, a message (OpenAI), a list of parts (Anthropic), or a status with a body. Streams of
    OpenAI's have it in one chunk.
    """

    def __init__(self, base_url: str, answers: list[Any]) -> None:
        self.base_url, self.answers = base_url, answers
        self.asked: list[Asked] = []

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(given, tuple):
            return given
        if asked.path.endswith("/messages"):
            parts = [{"type": "text", "text": given}] if isinstance(given, str) else given
            kind = {
                "id": "1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "stop_reason": "end_turn",
            }
            usage = {"input_tokens": 1, "output_tokens": 1}
            return 200, json.dumps({**kind, "content": parts, "usage": usage}).encode()
        message = {"role": "assistant", "content": given} if isinstance(given, str) else given
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        fields = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        if asked.body.get("stream"):
            choice["delta"] = choice.pop("message")
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            chunk = {**fields, "object": "chat.completion.chunk", "usage": usage}
            return 200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        return 200, json.dumps(fields).encode()


@contextmanager
def model_server(*answers: Any) -> Iterator[ModelServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = model.answer(Asked(self.path, headers, body))
            self.send_response(status)
            kind = "text/event-stream" if body.get("stream") else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        model = ModelServer(f"http://127.0.0.1:{server.server_port}", [*answers])
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()
