"""A server of git repositories on loopback, with the routes of Gitea that its clients here use.

Git's own ``git http-backend`` serves the repositories; all but the front page needs the password.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "gitea", "p@ss:w/rd"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *words: str) -> str:
    """Run git as the test's author; return what it printed."""
    env = {**os.environ, **_IDENTITY}
    return subprocess.run(
        ["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


@contextmanager
def serving_repositories(root: Path) -> Iterator[str]:
    """Serve the bare repositories ``root/gitea/NAME.git``; give the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/":
                self._answer(b"Gitea")
            elif not self._is_allowed():
                self.send_response(HTTPStatus.UNAUTHORIZED)
                self.send_header("WWW-Authenticate", 'Basic realm="Gitea"')
                self.end_headers()
            elif url.path == "/api/v1/user/repos":
                self._answer(json.dumps(self._repositories(parse_qs(url.query))).encode())
            else:
                self._run_git(url.path, url.query)

        do_POST = do_GET

        def _is_allowed(self) -> bool:
            key = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            return self.headers.get("Authorization") == f"Basic {key}"

        def _repositories(self, query: dict[str, list[str]]) -> list[dict[str, str | None]]:
            size, page = int(query["limit"][0]), int(query["page"][0])
            names = sorted(path.stem for path in (root / USER).iterdir())[(page - 1) * size : page * size]
            return [
                {
                    "name": name,
                    "full_name": f"{USER}/{name}",
                    "clone_url": f"…/{name}.git",
                    "description": None,
                }
                for name in names
            ]

        def _run_git(self, path: str, query: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            variables = {
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": USER,
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env={**os.environ, **variables}, capture_output=True
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self._answer(content, int(headers.pop("Status", "200").split()[0]), headers)

        def _answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
