"""What can be set from outside, by environment variables."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from openenv_gym.errors import ConfigurationError
from openenv_gym.wire.bearer import is_key
from openenv_server.security.origins import ANY, parse_origin

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
_in_either_case = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Settings(BaseSettings):
    """The server's settings; each is read from the environment variable of its name, in capitals.

    Attributes:
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        max_concurrent_envs: Sessions at a time; None leaves it to the environment's class.
        session_timeout: Seconds without a message after which a session is closed. A session inside a step
            is not silent, however long it takes.
        resume_grace: Seconds for which the sessions of a broken connection are kept, for a client that
            speaks version 2 of the protocol and comes back.
        step_timeout: Seconds that a reset or a step may take; None leaves it to the environment.
        enable_web_interface: Whether the server's page is at ``/web`` too, where Spaces look for it.
        openenv_api_key: The key that every request but ``GET /health`` has to show; None asks for none.
        allowed_origins: The origins of web pages that may use the server beside its own, separated by commas
            or as JSON; ``*`` is any.
        max_message_bytes: The most bytes of a message or a body from a client. The default, 64 MiB, holds the
            actions of a thousand slots, even where they are images.
        max_slots_per_socket: The most sessions on a socket of version 2 of the protocol.
        max_sockets_per_address: The most sockets from an address, in each of the server's processes.
        drain_timeout: Seconds in which the process ends after SIGTERM, even from inside an environment.
        log_format: Lines of text, or one JSON object a line.
        log_level: The least that is logged.
    """

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_concurrent_envs: int | None = Field(default=None, ge=1)
    session_timeout: float = Field(default=3600.0, gt=0)
    resume_grace: float = Field(default=60.0, ge=0)
    step_timeout: float | None = Field(default=None, gt=0)
    enable_web_interface: bool = False
    openenv_api_key: SecretStr | None = None
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    max_message_bytes: int = Field(default=2**26, ge=1)
    max_slots_per_socket: int = Field(default=4096, ge=1)
    max_sockets_per_address: int = Field(default=4096, ge=1)
    drain_timeout: float = Field(default=10.0, gt=0)
    log_format: Annotated[LogFormat, _in_either_case] = "text"
    log_level: Annotated[LogLevel, _in_either_case] = "warning"

    @field_validator("openenv_api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not is_key(key.get_secret_value()):
            # An empty one too: most likely a variable that something forgot to fill in.
            raise ValueError(
                "a key has printable ASCII characters, one at least, and no spaces; unset it to ask for none"
            )
        return key

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
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


def read_settings() -> Settings:
    """The settings, as the environment has them now.

    Raises:
        ConfigurationError: One of them is wrong. The message names it, and shows no key.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise ConfigurationError(f"The environment's variables set the server up wrongly. {wrong}") from None
