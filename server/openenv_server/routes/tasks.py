"""The routes of environments whose episodes are tasks of a data set, as `TaskProvider` describes them."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from fastapi import APIRouter, Request, Response

from openenv_gym.contract import GetTaskRangeRequest, GetTaskRequest, ListTasksRequest, NumTasksRequest
from openenv_gym.wire.codes import ErrorCode
from openenv_server.routes.http import (
    CodedRoute,
    error_response,
    failed_response,
    in_session,
    json_response,
)
from openenv_server.serialization import json_value
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.session import Session

# The types of splits; one of another name is for validation.
_SPLIT_TYPES = ("train", "validation", "test")


def task_routes(sessions: Sessions, name: str) -> APIRouter:
    """The routes. They are stateless: each makes an environment and closes it.

    Args:
        sessions: The server's sessions.
        name: The environment's name, the first part of the paths.
    """
    router = APIRouter(route_class=CodedRoute, tags=["tasks"])

    async def answer(
        http: Request, env_name: str, method: str, *arguments: Any, form: Callable[[Any], Any]
    ) -> Response:
        """Call a method of the environment, and bring what it returns into form."""
        if env_name.lower() != name.lower():
            message = f"This server has no environment {env_name!r}, only {name!r}"
            return error_response(404, ErrorCode.VALIDATION_ERROR, message, detail=message)
        missing = f"{name} has no {method}, which environments with tasks have"

        async def ask(session: Session) -> Response:
            call = getattr(session.environment, method, None)
            if call is None:
                raise NotImplementedError
            found = await session.run(lambda: call(*arguments))
            return json_response(form(json_value(await found if isawaitable(found) else found, method)))

        try:
            return await in_session(http, sessions, ask)
        except NotImplementedError:
            return error_response(501, ErrorCode.EXECUTION_ERROR, missing, detail=missing)
        except IndexError as error:
            message = f"No such task: {error}"
            return error_response(400, ErrorCode.VALIDATION_ERROR, message, detail=message)
        except Exception as error:
            return failed_response(error, sessions, http)

    @router.get("/list_environments")
    async def list_environments() -> list[str]:
        """The environments of this server: its own."""
        return [name]

    @router.get("/{env_name}/splits")
    async def splits(http: Request, env_name: str) -> Response:
        """The splits of the data set, each with its name and type."""
        return await answer(
            http, env_name, "list_splits", form=lambda found: [_split(split) for split in found]
        )

    @router.post("/{env_name}/tasks")
    async def tasks(http: Request, env_name: str, request: ListTasksRequest) -> Response:
        """The tasks of a split."""
        return await answer(
            http, env_name, "list_tasks", request.split, form=lambda found: {"tasks": found, "env_name": name}
        )

    @router.post("/{env_name}/num_tasks")
    async def num_tasks(http: Request, env_name: str, request: NumTasksRequest) -> Response:
        """The number of tasks of a split."""
        return await answer(
            http, env_name, "num_tasks", request.split, form=lambda found: {"num_tasks": found}
        )

    @router.post("/{env_name}/task")
    async def task(http: Request, env_name: str, request: GetTaskRequest) -> Response:
        """One task of a split."""
        return await answer(
            http, env_name, "get_task", request.split, request.index, form=lambda found: {"task": found}
        )

    @router.post("/{env_name}/task_range")
    async def task_range(http: Request, env_name: str, request: GetTaskRangeRequest) -> Response:
        """Tasks of a split, by the bounds of a slice."""
        bounds = request.start, request.stop
        return await answer(
            http, env_name, "get_task_range", request.split, *bounds, form=lambda found: {"tasks": found}
        )

    return router


def _split(split: Any) -> dict[str, Any]:
    if isinstance(split, dict):
        return split
    return {"name": str(split), "type": split if split in _SPLIT_TYPES else "validation"}
