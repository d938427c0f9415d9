"""The messages between server and supervisor: JSON lines on a socket."""

from __future__ import annotations

import json
from typing import Any, TypedDict, cast


class LimitsMessage(TypedDict):
    """The limits of a sandbox; seconds, bytes and counts."""

    timeout_s: float
    cpu_s: int
    memory_bytes: int
    files_bytes: int
    files: int
    processes: int
    output_bytes: int


class Config(TypedDict):
    """The first line: how programs are confined."""

    isolation: str
    python: str
    readable: list[str]
    limits: LimitsMessage


class Request(TypedDict):
    """A program to run."""

    code: str
    stdin: str
    timeout_s: float
    hash_seed: int


class Answer(TypedDict):
    """Its result; output in Base64, because it may be any bytes."""

    exit_code: int
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    stopped_by: str | None
    duration_s: float


def encode(message: Any) -> bytes:
    """Encode a message as a line."""
    return json.dumps(message).encode() + b"\n"


def decode_config(line: bytes) -> Config:
    """Decode the first line."""
    return cast(Config, json.loads(line))


def decode_request(line: bytes) -> Request:
    """Decode a line after the first."""
    return cast(Request, json.loads(line))
