"""The server's settings, from environment variables."""

from __future__ import annotations

import json
import os
import re
from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from openenv_gym.contract import ServerMode
from openenv_gym.errors import ConfigurationError
from openenv_gym.process_key import secret
from openenv_gym.wire import bearer
from openenv_server.security.hosts import check_allowed_host
from openenv_server.security.origins import ANY, parse_origin

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
_ROOT_PATH = re.compile(r"(/[\w.~-]+)*/?", re.ASCII)
_in_either_case = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


# The variable by which `openenv serve --max-sessions` overrides the number in an environment's code.
MAX_SESSIONS_OPTION = "OPENENV_SERVE_MAX_SESSIONS"


class Settings(BaseSettings):
    """The server's settings. Each is read from the environment variable with its name in capitals.

    ``openenv serve --help`` shows their descriptions.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="the port; 0 takes a free one")
    live_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="a port on which another process answers GET /live; default: none",
    )
    max_concurrent_envs: int | None = Field(
        default=None,
        ge=1,
        description="maximum number of sessions; default: 64, or 1 if the environment allows only one",
    )
    # A session inside a step does not count as silent.
    session_timeout: float = Field(
        default=3600.0, gt=0, description="seconds of silence after which a session is closed"
    )
    resume_grace: float = Field(
        default=60.0, ge=0, description="seconds for which the sessions of a broken connection are kept"
    )
    step_timeout: float | None = Field(
        default=None, gt=0, description="time limit of a reset or a step in seconds; default: unlimited"
    )
    enable_web_interface: bool = Field(
        default=True,
        description="serve the playground at /web, where Spaces expect it, if Gradio is installed",
    )
    openenv_mode: Annotated[ServerMode, _in_either_case] = Field(
        default=ServerMode.SIMULATION,
        description="simulation, or production without the HTTP routes /reset, /step and /state",
    )
    openenv_api_key: SecretStr | None = Field(
        default=None, description="the key that clients must send, or several, one a line; default: none"
    )
    openenv_api_key_file: str | None = Field(
        default=None,
        description="a file with further keys, one a line, read again when it changes; default: none",
    )
    openenv_api_key_header: str | None = Field(
        default=None,
        description="a header that may show the key instead of Authorization, as X-API-Key; default: none",
    )
    openenv_metrics_key: SecretStr | None = Field(
        default=None, description="a key for GET /metrics alone; default: the key of all"
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="origins of web pages that may use it, separated by commas; * is any; default: its own",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="host names that requests may use, separated by commas; * is any; default: on loopback "
        "addresses localhost and IP addresses, elsewhere any",
    )
    # The default, 64 MiB, holds the actions of a thousand slots, even if they are images.
    max_message_bytes: int = Field(
        default=2**26, ge=1, description="maximum size of a message or a body in bytes"
    )
    max_slots_per_socket: int = Field(
        default=16_384, ge=1, description="maximum number of sessions on a connection"
    )
    max_sockets_per_address: int = Field(
        default=4096,
        ge=1,
        description="maximum number of WebSockets of one address, and of its other connections, per process",
    )
    request_timeout: float = Field(
        default=30.0,
        gt=0,
        description="time limit in seconds for the head of a request, and then for its body, plus 1 s for "
        "each 1,000 bytes",
    )
    forwarded_allow_ips: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are "
        "believed, separated by commas; * is any; default: none",
    )
    root_path: str = Field(
        default="",
        description="the path under which a proxy serves it and which the proxy removes, as /envs/chess; "
        "default: none",
    )
    drain_timeout: float = Field(
        default=10.0, gt=0, description="time limit of a graceful shutdown after SIGTERM in seconds"
    )
    log_format: Annotated[LogFormat, _in_either_case] = Field(
        default="text", description="text, or json with one object a line"
    )
    log_level: Annotated[LogLevel, _in_either_case] = Field(
        default="warning", description="debug, info, warning, error or critical"
    )

    @field_validator("openenv_api_key", "openenv_metrics_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        keys = _keys_in(key)
        if key is not None and not (keys and all(map(bearer.is_key, keys))):
            # Also if it is empty: most likely a variable that was not filled in.
            raise ValueError(
                "a key must be printable ASCII without spaces, and not empty; unset it for no key"
            )
        return key

    @field_validator("openenv_api_key_header")
    @classmethod
    def _check_header(cls, name: str | None) -> str | None:
        if name is not None and not bearer.is_header(name):
            raise ValueError(f"{name!r} is not the name of a header; one looks like X-API-Key")
        return name

    @field_validator("allowed_origins", "allowed_hosts", "forwarded_allow_ips", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != ANY:
                parse_origin(origin)
        return origins

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy != ANY:
                ip_network(proxy)
        return proxies

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, path: str) -> str:
        if not _ROOT_PATH.fullmatch(path):
            raise ValueError(f"{path!r} is not a path without special characters; one looks like /envs/chess")
        return path.rstrip("/")

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_allowed_host, hosts))

    def api_keys(self) -> list[str]:
        """The keys that open the server, without those of the file."""
        return _keys_in(self.openenv_api_key)

    def metrics_keys(self) -> list[str]:
        """The keys that open its metrics only."""
        return _keys_in(self.openenv_metrics_key)

    def secrets(self) -> dict[str, str]:
        """The variables that nothing which an environment starts may inherit, with their values."""
        found = {name: getattr(self, name.lower()) for name in bearer.SECRETS}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in found.items()
            if value is not None
        }


def _keys_in(keys: SecretStr | None) -> list[str]:
    return [] if keys is None else bearer.keys_in(keys.get_secret_value())


def variables() -> list[tuple[str, str]]:
    """The environment variable of each setting, with its description and default."""
    found = []
    for name, field in Settings.model_fields.items():
        text, default = str(field.description), field.default
        if "default:" not in text:
            text += f"; default: {default:g}" if isinstance(default, float) else f"; default: {default}"
        found.append((name.upper(), text))
    return found


def read_settings() -> Settings:
    """Read the settings from the environment variables, and the secrets that this process keeps.

    Raises:
        ConfigurationError: One is invalid. The message names it, and contains no key.
    """
    try:
        kept = {name.lower(): secret(name) for name in bearer.SECRETS if name not in os.environ}
        given: dict[str, Any] = {name: value for name, value in kept.items() if value is not None}
        return Settings(**given)
    except ValidationError as error:
        wrong = "; ".join(
            f"{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise ConfigurationError(f"Invalid environment variables: {wrong}") from None
