"""GET routes as data, for authors who add some to their application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel


@dataclass
class GetEndpointConfig:
    """A GET route.

    Attributes:
        path: Its path.
        handler: Returns the response.
        response_model: The model of the response.
        tag: The group of routes that it belongs to.
        summary: What it returns, in a few words.
        description: What it returns.
    """

    path: str
    handler: Callable[[], BaseModel | dict[str, Any]]
    response_model: type[BaseModel] | type[dict[str, Any]]
    tag: str
    summary: str
    description: str


def register_get_endpoints(app: FastAPI, configs: Iterable[GetEndpointConfig]) -> None:
    """Add routes to an application."""
    for config in configs:
        app.get(
            config.path,
            response_model=config.response_model,
            tags=[config.tag],
            summary=config.summary,
            description=config.description,
        )(config.handler)
