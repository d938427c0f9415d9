"""What docs/proxies.md tells users to write, and the gateways that run it."""

from __future__ import annotations

import re
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tests.gateways.gateway import Gateway, program

_TEXT = (Path(__file__).parents[2] / "docs" / "proxies.md").read_text()
_COMMAND = re.search(r"^    (ROOT_PATH=.*) openenv serve", _TEXT, re.MULTILINE)
assert _COMMAND is not None

# The settings of a server behind a gateway.
VARIABLES = dict(pair.split("=", 1) for pair in _COMMAND[1].split())
PATH = VARIABLES["ROOT_PATH"]
USER, PASSWORD = "me", "secret"
# Of the password, by bcrypt, with the least cost.
_HASH = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"


def blocks(language: str) -> list[str]:
    """The blocks for a gateway: of the environment under a path, of basic auth, and of several servers."""
    return re.findall(rf"^```{language}\n(.*?)^```", _TEXT, re.MULTILINE | re.DOTALL)


class DocumentedGateway(Gateway, ABC):
    """A gateway with the configuration of the document, at a free port, and in front of other servers.

    Args:
        folder: Where its files go.
        servers: The base URLs of the servers.
        has_basic_auth: Whether it asks for the user and the password.
        is_sticky: Whether a client reaches the same server again, if there are several.
        idle_s: How long a connection may be silent; None is what the document says.

    Attributes:
        base_url: Where the environment is.
    """

    language: str

    def __init__(
        self,
        folder: Path,
        servers: Sequence[str],
        *,
        has_basic_auth: bool = False,
        is_sticky: bool = True,
        idle_s: float | None = None,
    ) -> None:
        super().__init__(folder, has_tls=True)
        self.base_url = self.origin + PATH
        text, auth, several = blocks(self.language)
        if len(servers) > 1:
            text = self.with_several(text, several if is_sticky else self.without_stickiness(several))
        if has_basic_auth:
            (folder / "users").write_text(f"{USER}:{_HASH}\n")
            text = self.with_auth(text, auth.replace("HASH", _HASH))
        if idle_s is not None:
            text = self.with_idle_limit(text, f"{idle_s:g}s")
        for old, new in {
            "/etc/ssl/env.example.com.pem": str(self.certificate),
            "/etc/nginx/users": str(folder / "users"),
            "127.0.0.1:8000": servers[0].removeprefix("http://"),
            "10.0.0.7:8000": servers[0].removeprefix("http://"),
            "10.0.0.8:8000": servers[-1].removeprefix("http://"),
        }.items():
            text = text.replace(old, new)
        self.configure(text)

    @abstractmethod
    def with_several(self, text: str, several: str) -> str:
        """Put the block of several servers in the place of the single one."""

    @abstractmethod
    def without_stickiness(self, several: str) -> str:
        """Make a block of several servers take turns."""

    @abstractmethod
    def with_auth(self, text: str, auth: str) -> str:
        """Add the block of basic auth."""

    @abstractmethod
    def with_idle_limit(self, text: str, limit: str) -> str:
        """Set how long a connection may be silent."""

    @abstractmethod
    def configure(self, text: str) -> None:
        """Write the configuration, and set the command."""


def replaced(text: str, old: str, new: str) -> str:
    """Replace what has to be there."""
    assert old in text, old
    return text.replace(old, new)


class Nginx(DocumentedGateway):
    """nginx. A reload cuts connections after half a second."""

    language = "nginx"
    reload_signal = signal.SIGHUP

    def with_several(self, text: str, several: str) -> str:
        return several + replaced(text, "http://127.0.0.1:8000/", "http://chess/")

    def without_stickiness(self, several: str) -> str:
        return replaced(several, "ip_hash;", "")

    def with_auth(self, text: str, auth: str) -> str:
        return replaced(text, "proxy_pass", f"{auth}\nproxy_pass")

    def with_idle_limit(self, text: str, limit: str) -> str:
        return replaced(text, "proxy_pass", f"proxy_read_timeout {limit};\nproxy_pass")

    def configure(self, text: str) -> None:
        text = replaced(text, "listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"daemon off; user root; worker_processes 1; worker_shutdown_timeout 500ms;\n"
            f"pid {self.folder}/nginx.pid; error_log {self.folder}/error.log; events {{}}\n"
            f"http {{ access_log off; {temporary}\n{text} }}\n"
        )
        self.command = [str(program("nginx")), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


class Caddy(DocumentedGateway):
    """Caddy. A reload cuts connections."""

    language = "caddyfile"

    def with_several(self, text: str, several: str) -> str:
        return replaced(text, "reverse_proxy 127.0.0.1:8000\n", several)

    def without_stickiness(self, several: str) -> str:
        return replaced(several, "cookie openenv", "round_robin")

    def with_auth(self, text: str, auth: str) -> str:
        return replaced(text, "reverse_proxy", f"{auth}\nreverse_proxy")

    def with_idle_limit(self, text: str, limit: str) -> str:
        return text  # it has none

    def configure(self, text: str) -> None:
        addresses = ", ".join(f"https://{host}:{self.port}" for host in ("env.example.com", "127.0.0.1"))
        text = re.sub(r"^env\.example\.com \{", f"{addresses} {{", text, flags=re.MULTILINE)
        self._file = self.folder / "Caddyfile"
        options = (f"admin unix/{self.folder}/admin", "auto_https off", "skip_install_trust")
        self._file.write_text("\n".join(("{", *options, "default_bind 127.0.0.1", "}", text)))
        self.command = [str(program("caddy")), "run", "--config", str(self._file), "--adapter", "caddyfile"]

    def reload(self) -> None:
        subprocess.run(
            [self.command[0], "reload", "--force", "--config", str(self._file), "--adapter", "caddyfile"],
            check=True,
            capture_output=True,
            timeout=10,
        )


class Haproxy(DocumentedGateway):
    """HAProxy. A reload cuts connections after half a second."""

    language = "haproxy"
    reload_signal = signal.SIGUSR2

    def with_several(self, text: str, several: str) -> str:
        return replaced(text, "    server a 127.0.0.1:8000\n", several)

    def without_stickiness(self, several: str) -> str:
        return re.sub(r" *cookie .*", "", several)

    def with_auth(self, text: str, auth: str) -> str:
        users, _, rule = auth.partition("# in the frontend, above use_backend\n")
        return users + replaced(text, "    use_backend", f"{rule}    use_backend")

    def with_idle_limit(self, text: str, limit: str) -> str:
        return re.sub(r"(timeout (?:client|server)) \w+", rf"\1 {limit}", text)

    def configure(self, text: str) -> None:
        text = replaced(text, "bind :443 ", f"bind 127.0.0.1:{self.port} ")
        file = self.folder / "haproxy.cfg"
        file.write_text(f"global\n    hard-stop-after 500ms\n\n{text}")
        self.command = [str(program("haproxy")), "-W", "-f", str(file)]


GATEWAYS = {"nginx": Nginx, "caddy": Caddy, "haproxy": Haproxy}
