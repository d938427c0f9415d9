"""The Model Context Protocol's requests, JSON-RPC 2.0, as an environment answers them.

https://modelcontextprotocol.io/specification/2025-06-18 is the standard. Beside its own names
(``structuredContent``, ``isError``), results have those that published OpenEnv clients read
(``structured_content``, ``data``, ``is_error``).
"""

from __future__ import annotations

import json
from typing import Any

from openenv_gym.tool_types import JsonRpcErrorCode, ToolErrorType
from openenv_server.serialization import json_value
from openenv_server.tools.published import Tools

# The newest version first; a client that asks for another one gets the newest.
PROTOCOL_VERSIONS = ("2025-06-18", "2025-03-26", "2024-11-05")

Response = dict[str, Any]


def is_request(message: Any) -> bool:
    """Return whether a message is a request or a notification of JSON-RPC 2.0."""
    return isinstance(message, dict) and isinstance(message.get("method"), str)


def respond(
    environment: Any, tools: Tools | None, message: Any, *, is_standard: bool = False
) -> Response | None:
    """Answer a request. Call it on the thread of the environment's session.

    Args:
        environment: The environment, which is named.
        tools: Its tools; without them, the answer is that it has none.
        message: The request, as JSON values.
        is_standard: Whether the client keeps to the standard: a call that failed is a result then, which a
            language model sees. Published OpenEnv clients expect an error.

    Returns:
        The response; None for a notification, which has none.
    """
    if not is_request(message):
        return failure(None, JsonRpcErrorCode.INVALID_REQUEST, "Not a request of JSON-RPC 2.0")
    request_id, method = message.get("id"), message["method"]
    params = message.get("params") or {}
    if method.startswith("notifications/"):
        return None
    if not isinstance(params, dict):
        return failure(request_id, JsonRpcErrorCode.INVALID_PARAMS, "The params are not an object")
    if tools is None:
        message = "This environment has no tools"
        return failure(request_id, JsonRpcErrorCode.METHOD_NOT_FOUND, message)
    match method:
        case "initialize":
            asked = params.get("protocolVersion")
            version = asked if asked in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[0]
            return success(
                request_id,
                {
                    "protocolVersion": version,
                    "capabilities": {"tools": {"listChanged": False}},
                    "serverInfo": {"name": type(environment).__name__, "version": "1.0.0"},
                },
            )
        case "ping":
            return success(request_id, {})
        case "tools/list":
            listed = [
                {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
                for tool in tools.list_tools()
            ]
            return success(request_id, {"tools": listed})
        case "tools/call":
            return _call(tools, request_id, params, is_standard)
    return failure(request_id, JsonRpcErrorCode.METHOD_NOT_FOUND, f"Unknown method {method!r}")


def _call(tools: Tools, request_id: Any, params: dict[str, Any], is_standard: bool) -> Response:
    name, arguments = params.get("name"), params.get("arguments") or {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        message = "A call has the name of a tool, and its arguments as an object"
        return failure(request_id, JsonRpcErrorCode.INVALID_PARAMS, message)
    observation = tools.call_tool(name, arguments)
    if observation.error is None:
        result = json_value(observation.result, "result")
        if not isinstance(result, dict) or not isinstance(result.get("content"), list):
            text = result if isinstance(result, str) else json.dumps(result)
            result = {**json_value(observation, "result"), "content": [{"type": "text", "text": text}]}
            result |= {
                "structured_content": observation.result,
                "data": observation.result,
                "is_error": False,
            }
        return success(
            request_id,
            {**result, "structuredContent": _object(result.get("structured_content")), "isError": False},
        )
    kind, message = observation.error.error_type, observation.error.message
    if kind == ToolErrorType.TOOL_NOT_FOUND:
        return failure(request_id, JsonRpcErrorCode.INVALID_PARAMS, message)
    if not is_standard:
        return failure(request_id, JsonRpcErrorCode.INTERNAL_ERROR, message)
    return success(request_id, {"content": [{"type": "text", "text": message}], "isError": True})


def _object(structured: Any) -> dict[str, Any] | None:
    return structured if isinstance(structured, dict) else None


def success(request_id: Any, result: Any) -> Response:
    """Return the response with a result."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def failure(request_id: Any, code: JsonRpcErrorCode, message: str) -> Response:
    """Return the response with an error."""
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "error": {"code": code.value, "message": message, "data": None},
    }
