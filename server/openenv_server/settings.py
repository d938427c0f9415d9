"""What can be set from outside, by environment variables."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


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
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_concurrent_envs: int | None = Field(default=None, ge=1)
    session_timeout: float = Field(default=3600.0, gt=0)
    resume_grace: float = Field(default=60.0, ge=0)
    step_timeout: float | None = Field(default=None, gt=0)
