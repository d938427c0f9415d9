"""What can be set from outside, by environment variables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
_in_either_case = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Settings(BaseSettings):
    """The server's settings; each is read from the environment variable of its name, in capitals.

    Attributes:
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        max_concurrent_envs: Sessions at a time; None leaves it to the environment's class.
        session_timeout: Seconds without a message after which a session is closed; None waits for ever.
        drain_timeout: Seconds in which the process ends after SIGTERM, even from inside an environment.
        log_format: Lines of text, or one JSON object a line.
        log_level: The least that is logged.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_concurrent_envs: int | None = Field(default=None, ge=1)
    session_timeout: float | None = Field(default=None, gt=0)
    drain_timeout: float = Field(default=10.0, gt=0)
    log_format: Annotated[LogFormat, _in_either_case] = "text"
    log_level: Annotated[LogLevel, _in_either_case] = "warning"
