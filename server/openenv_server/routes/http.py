"""The HTTP routes. They are stateless: a route that needs an environment makes one and closes it."""

import json
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Body, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticInvalidForJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from openenv_gym.contract import ResetRequest, ResetResponse, StepResponse
from openenv_gym.types import EnvironmentMetadata
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.values import MOST_IN_REQUEST, check_json
from openenv_server.calls import state_model
from openenv_server.connections.transports import unless_left
from openenv_server.errors import MOST_OF_HEADER, ClientLeftError, reply_to, request_id_of
from openenv_server.operations.health import (
    Health,
    Liveness,
    LoopMonitor,
    Readiness,
    WorkerHealth,
    health_of,
    readiness_of,
    worker_health_of,
)
from openenv_server.operations.metrics import CONTENT_TYPE, ServerMetrics, merged
from openenv_server.operations.peers import Peers
from openenv_server.readme import complete_metadata
from openenv_server.schemas import action_schema, observation_schema, state_schema
from openenv_server.serialization import AsJson
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.lifecycle import Client, Protocol
from openenv_server.sessions.session import Session

# The HTTP status of each error code; all others are 500.
_STATUSES = {
    ErrorCode.CAPACITY_REACHED: 503,
    ErrorCode.TIMEOUT: 504,
    ErrorCode.VALIDATION_ERROR: 422,
}
# As nginx logs it; nobody reads that response.
_CLIENT_LEFT = 499

T = TypeVar("T")


class Schemas(BaseModel):
    """The response to ``GET /schema``: JSON Schemas, from which a client makes its spaces."""

    action: dict[str, Any]
    observation: dict[str, Any]
    reset_observation: dict[str, Any]
    state: dict[str, Any]


class CodedRoute(APIRoute):
    """A route whose errors have a code and a message, beside FastAPI's own ``detail``. Bodies are limited."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                check_json(await request.body(), MOST_IN_REQUEST)
            except ValueError as error:
                return error_response(413, ErrorCode.VALIDATION_ERROR, f"The request is refused: {error}")
            try:
                return await handle(request)
            except RequestValidationError as error:
                detail = jsonable_encoder(error.errors())
                reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in detail)
                message = f"The request is refused: {reasons}"
                return error_response(422, ErrorCode.VALIDATION_ERROR, message, detail=detail)
            except HTTPException as error:  # a body that cannot be parsed
                status, detail = error.status_code, error.detail
                return error_response(status, ErrorCode.INVALID_JSON, str(detail), detail=detail)

        return handle_or_refuse


def http_routes(
    sessions: Sessions,
    action_model: type[BaseModel],
    observation_model: type[BaseModel],
    reset_observation_model: type[BaseModel],
    state_cls: type[BaseModel] | None,
    env_name: str | None,
    peers: Peers,
) -> tuple[APIRouter, APIRouter]:
    """The HTTP routes of environments and of the server.

    Returns:
        episodes: The routes that reset, step and read the state, which a server in production leaves out.
        others: All others.
    """
    episodes, router = APIRouter(route_class=CodedRoute), APIRouter(route_class=CodedRoute)
    schema_of = {model: observation_schema(model) for model in {observation_model, reset_observation_model}}
    schemas = Schemas(
        action=action_schema(action_model),
        observation=schema_of[observation_model],
        reset_observation=schema_of[reset_observation_model],
        state={},
    )
    state_schema_of = cache(state_schema)
    step_request: Any = create_model(
        "StepRequest",
        __config__=ConfigDict(extra="allow"),
        action=(Annotated[Any, AsJson(action_model)], Field(description="The action")),
        timeout_s=(float | None, Field(default=None, gt=0, description="Seconds that the step may take")),
        request_id=(str | None, Field(default=None, description="The caller's own id of the request")),
    )
    known_metadata: list[EnvironmentMetadata] = []
    monitor, server_metrics = LoopMonitor(), ServerMetrics(sessions)

    def failure(error: Exception, http: Request, request_id: str | None = None) -> Response:
        return failed_response(error, sessions, http, request_id)

    peers.handlers["metrics"] = server_metrics.text
    peers.handlers["health"] = lambda: worker_health_of(sessions, monitor).model_dump()

    @router.get("/health", tags=["server"], response_model_exclude_none=True)
    async def health(response: Response) -> Health:
        """The server's health and number of sessions; 503 if it is unhealthy."""
        found = health_of(sessions, monitor)
        if peers.count > 1:
            answers = (await peers.ask("health")).values()
            found.workers = [WorkerHealth.model_validate(answer) for answer in answers]
        if found.status == "unhealthy":
            response.status_code = 503
        return found

    @router.get("/live", tags=["server"])
    async def live() -> Liveness:
        """The event loop answers: this process needs no restart."""
        return Liveness()

    @router.get("/ready", tags=["server"], responses={503: {"model": Readiness}})
    async def ready(response: Response, full: Literal["200", "503"] = "200") -> Readiness:
        """Whether clients can be sent here; 503 if not. With ``full=503``, a full server is not ready."""
        found = readiness_of(sessions, must_have_room=full == "503")
        if found.reasons:
            response.status_code = 503
        return found

    @router.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """The metrics of all processes that serve this address, for Prometheus."""
        answers = await peers.ask("metrics")
        return Response(merged(list(answers.values())), media_type=CONTENT_TYPE)

    @router.get("/schema", tags=["environment"])
    async def schema() -> Schemas:
        """The JSON Schemas of action, observation and state."""
        # A function that makes environments may not say of which class, before it has made one.
        schemas.state = state_schema_of(state_cls or state_model(sessions.kind))
        return schemas

    @router.get("/metadata", tags=["environment"], response_model=EnvironmentMetadata)
    async def metadata(http: Request) -> Any:
        """The environment's description of itself."""
        if not known_metadata:
            try:
                found = await in_session(
                    http,
                    sessions,
                    lambda session: session.run(lambda: complete_metadata(session.environment, env_name)),
                )
            except Exception as error:
                return failure(error, http)
            known_metadata.append(found)
        return known_metadata[0]

    @episodes.get("/state", tags=["episode"], responses=_answer(state_cls or state_model(sessions.kind)))
    async def state(http: Request) -> Response:
        """The state of a new environment."""
        try:
            return _json_text(await in_session(http, sessions, Session.state))
        except Exception as error:
            return failure(error, http)

    @episodes.post("/reset", tags=["episode"], responses=_answer(ResetResponse))
    async def reset(http: Request, request: Annotated[ResetRequest | None, Body()] = None) -> Response:
        """The first observation of an episode. For more than one step, use the WebSocket."""
        data = request.model_dump(exclude_unset=True) if request else {}
        try:
            return _json_text(await in_session(http, sessions, lambda session: session.reset(data)))
        except Exception as error:
            return failure(error, http)

    @episodes.post("/step", tags=["episode"], responses=_answer(StepResponse))
    async def step(http: Request, request: Annotated[step_request, Body()]) -> Response:
        """One step in a new environment. For an episode, use the WebSocket."""
        extras = {name: value for name, value in request if name != "action"}
        try:
            return _json_text(
                await in_session(http, sessions, lambda session: session.step(request.action, extras))
            )
        except Exception as error:
            return failure(error, http, request.request_id)

    return episodes, router


def _answer(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The documentation of a response. Of a model without a JSON Schema, it says nothing."""
    try:
        model.model_json_schema(mode="serialization")
    except PydanticInvalidForJsonSchema:
        return {}
    return {200: {"model": model}}


async def in_session(
    http: Request,
    sessions: Sessions,
    call: Callable[[Session], Awaitable[T]],
    protocol: Protocol = "http",
) -> T:
    """Call something in a session that is open for one request; give it up if the client leaves meanwhile.

    Raises:
        ClientLeftError: The client has left.
        Exception: What `call` and `Sessions.open_for_request` raise.
    """

    async def work() -> T:
        async with sessions.open_for_request(client_of(http, protocol)) as session:
            return await call(session)

    async def leaves() -> str:
        while (await http.receive())["type"] != "http.disconnect":
            pass
        return "The client has left"

    return await unless_left(work(), leaves)


def failed_response(
    error: Exception, sessions: Sessions, http: Request, request_id: str | None = None
) -> Response:
    """The response to a request that failed, which is counted.

    Args:
        error: Why it failed.
        sessions: The server's sessions.
        http: The request.
        request_id: The client's id of it in the body; the one in the header precedes it.
    """
    if isinstance(error, ClientLeftError):
        return Response(status_code=_CLIENT_LEFT)
    request_id = request_id_of(http.headers) or (request_id and request_id[:MOST_OF_HEADER])
    reply = reply_to(error, "the environment raised", request_id=request_id)
    sessions.counters.count_error(reply.code)
    return error_response(_STATUSES.get(reply.code, 500), reply.code, reply.message, **reply.details)


def client_of(connection: HTTPConnection, protocol: Protocol) -> Client:
    """The client, for the log."""
    address = f"{connection.client.host}:{connection.client.port}" if connection.client else "unknown"
    return Client(address, protocol, connection.headers.get("user-agent", "")[:MOST_OF_HEADER])


def _json_text(text: str) -> Response:
    return Response(text, media_type="application/json")


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON values."""
    # What a client sent may contain NaN and infinity, which become their names.
    text = json.dumps(json.loads(json.dumps(value), parse_constant=str))
    return Response(text, status, headers, media_type="application/json")


def error_response(status: int, code: ErrorCode, message: str, **details: Any) -> Response:
    """A response with a message and a code, as every error has them."""
    return json_response({"message": message, "code": code.value, **details}, status)
