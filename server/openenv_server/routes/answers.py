"""What the HTTP routes answer: JSON that is text already, and errors, each with a code and a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from openenv_gym.wire.codes import ErrorCode
from openenv_server.calls import UnknownKeywordsError
from openenv_server.incidents import report
from openenv_server.sessions import CapacityReachedError, FactoryFailedError, StepTimeoutError


class CodedRoute(APIRoute):
    """A route whose refusals of a request have a code and a message, beside FastAPI's own ``detail``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                detail = jsonable_encoder(error.errors())
                reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in detail)
                return _error(
                    422, ErrorCode.VALIDATION_ERROR, f"The request is refused: {reasons}", detail=detail
                )
            except HTTPException as error:  # a body that cannot even be parsed
                return _error(
                    error.status_code, ErrorCode.INVALID_JSON, str(error.detail), detail=error.detail
                )

        return handle_or_refuse


def json_text(text: str, status: int = 200) -> Response:
    """A response of JSON that is text already."""
    return Response(text, status, media_type="application/json")


def json_of(value: Any, status: int = 200) -> Response:
    """A response with what came from a client in it: numbers that JSON has not become their names."""
    return json_text(json.dumps(json.loads(json.dumps(value), parse_constant=str)), status)


def coded_failure(error: Exception) -> tuple[Response, ErrorCode]:
    """The response to a request that an environment did not do, and its code."""
    details: dict[str, Any] = {}
    match error:
        case CapacityReachedError():
            status, code, message = 503, ErrorCode.CAPACITY_REACHED, str(error)
        case FactoryFailedError():
            status, code, message = 500, ErrorCode.FACTORY_ERROR, str(error)
            details["error_id"] = error.error_id
        case StepTimeoutError():
            status, code, message = 504, ErrorCode.TIMEOUT, str(error)
        case UnknownKeywordsError():
            status, code, message = 422, ErrorCode.VALIDATION_ERROR, str(error)
        case _:
            status, code, message = 500, ErrorCode.EXECUTION_ERROR, f"{type(error).__name__}: {error}"
            details["error_id"] = report(error, "the environment raised")
    return _error(status, code, message, **details), code


def _error(status: int, code: ErrorCode, message: str, **details: Any) -> Response:
    return json_of({"message": message, "code": code.value, **details}, status)
