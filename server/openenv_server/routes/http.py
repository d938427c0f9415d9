"""The HTTP routes. They are stateless: where one needs an environment, it makes one and closes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from openenv_gym.types import EnvironmentMetadata
from openenv_server.calls import metadata_of
from openenv_server.routes.answers import CodedRoute, failure, json_of, json_text
from openenv_server.sessions import Session, Sessions, StepTimeoutError


class ResetRequest(BaseModel):
    """The body of ``POST /reset``: what the environment's ``reset`` takes."""

    model_config = ConfigDict(extra="allow")

    seed: int | None = Field(default=None, description="Makes the episode repeatable")
    episode_id: str | None = Field(default=None, description="A name for the episode")


class Health(BaseModel):
    """The answer of ``GET /health``."""

    status: str = "healthy"
    active_sessions: int = Field(description="Sessions under way")
    max_sessions: int = Field(description="How many there may be")


class Schemas(BaseModel):
    """The answer of ``GET /schema``: JSON Schemas, from which a client makes its spaces."""

    action: dict[str, Any]
    observation: dict[str, Any]
    state: dict[str, Any]


def http_routes(
    sessions: Sessions,
    action_model: type[BaseModel],
    observation_model: type[BaseModel],
    state_model: type[BaseModel],
    env_name: str | None,
) -> APIRouter:
    """All HTTP routes but the landing page."""
    router = APIRouter(route_class=CodedRoute)
    schemas = Schemas(
        action=action_model.model_json_schema(),
        observation=observation_model.model_json_schema(mode="serialization"),
        state=state_model.model_json_schema(mode="serialization"),
    )
    step_request: Any = create_model(
        "StepRequest",
        __config__=ConfigDict(extra="allow"),
        action=(action_model, Field(description="The action")),
        timeout_s=(float | None, Field(default=None, gt=0, description="Seconds that the step may take")),
        request_id=(str | None, Field(default=None, description="Goes along, for the caller's own use")),
    )
    known_metadata: list[EnvironmentMetadata] = []

    @router.get("/health", tags=["server"])
    async def health() -> Health:
        """Whether the server is up, and how many sessions it has."""
        return Health(active_sessions=sessions.active, max_sessions=sessions.capacity)

    @router.get("/schema", tags=["environment"])
    async def schema() -> Schemas:
        """The JSON Schemas of action, observation and state."""
        return schemas

    @router.get("/metadata", tags=["environment"], response_model=EnvironmentMetadata)
    async def metadata() -> Any:
        """What the environment says of itself."""
        if not known_metadata:
            try:
                async with one_session(sessions) as session:
                    said = await session.run(lambda: metadata_of(session.environment, env_name))
            except Exception as error:
                return failure(error)
            known_metadata.append(said)
        return known_metadata[0]

    @router.get("/state", tags=["episode"])
    async def state() -> Response:
        """The state of an environment that was only just made."""
        try:
            async with one_session(sessions) as session:
                return json_text(await session.state())
        except Exception as error:
            return failure(error)

    @router.post("/reset", tags=["episode"])
    async def reset(request: Annotated[ResetRequest | None, Body()] = None) -> Response:
        """The first observation of an episode. For more than one step, use the WebSocket."""
        data = request.model_dump(exclude_none=True) if request else {}
        try:
            async with one_session(sessions) as session:
                return json_text(await session.reset(data))
        except Exception as error:
            return failure(error)

    @router.post("/step", tags=["episode"])
    async def step(request: Annotated[step_request, Body()]) -> Response:
        """One step in an environment that was only just made. For an episode, use the WebSocket."""
        extras = {"timeout_s": request.timeout_s, **(request.model_extra or {})}
        try:
            async with one_session(sessions) as session:
                return json_text(await session.step(request.action, extras))
        except Exception as error:
            return failure(error)

    @router.post("/mcp", tags=["tools"])
    async def mcp(message: Annotated[Any, Body()] = None) -> Response:
        """JSON-RPC 2.0. This environment has no tools, and says so in its terms."""
        is_call = isinstance(message, dict) and isinstance(message.get("method"), str)
        code, text = (
            (-32601, "This environment has no tools") if is_call else (-32600, "Not a JSON-RPC request")
        )
        request_id = message.get("id") if isinstance(message, dict) else None
        return json_of({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}})

    return router


@asynccontextmanager
async def one_session(sessions: Sessions) -> AsyncIterator[Session]:
    """A session for one request."""
    session = await sessions.open()
    try:
        yield session
    except StepTimeoutError:
        sessions.abandon(session)
        session.submit(lambda: sessions.settle(session))
        raise
    finally:
        await sessions.close(session)
