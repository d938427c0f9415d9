"""The models of tools: the actions that list and call them, and the observations that answer."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from openenv_gym.types import Action, Observation

# Names that no tool can have, since they are an environment's own.
RESERVED_TOOL_NAMES = frozenset({"reset", "step", "state", "close"})


class Tool(BaseModel):
    """A tool of an environment."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str = Field(description="The tool's name")
    description: str = Field(description="What it does")
    input_schema: dict[str, Any] = Field(description="The JSON Schema of its arguments")


class ToolErrorType(StrEnum):
    """Why a call failed."""

    EXECUTION_ERROR = "execution_error"
    INVALID_ARGS = "invalid_args"
    TRANSPORT_ERROR = "transport_error"
    TOOL_NOT_FOUND = "tool_not_found"
    TIMEOUT = "timeout"


class ToolError(BaseModel):
    """A call that failed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    error_type: ToolErrorType = Field(description="Why it failed")
    message: str = Field(description="The same, for people")


class ListToolsAction(Action):
    """List the tools."""

    type: Literal["list_tools"] = "list_tools"


class CallToolAction(Action):
    """Call a tool."""

    type: Literal["call_tool"] = "call_tool"
    tool_name: str = Field(description="The tool")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Its arguments, by name")


class ListToolsObservation(Observation):
    """The tools."""

    tools: list[Tool] = Field(description="All tools that can be called")


class CallToolObservation(Observation):
    """What a tool answered."""

    tool_name: str = Field(description="The tool that was called")
    result: Any = Field(default=None, description="Its result; null if the call failed")
    error: ToolError | None = Field(default=None, description="Why the call failed")


class JsonRpcErrorCode(IntEnum):
    """The error codes of JSON-RPC 2.0."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    SERVER_ERROR = -32000


class McpMethod(StrEnum):
    """The methods that deal with tools."""

    TOOLS_LIST = "tools/list"
    TOOLS_CALL = "tools/call"


class JsonRpcRequest(BaseModel):
    """A request of JSON-RPC 2.0."""

    jsonrpc: Literal["2.0"]
    method: str
    params: dict[str, Any] = Field(default_factory=dict)
    id: str | int | None = None


class JsonRpcError(BaseModel):
    """The error in a response of JSON-RPC 2.0."""

    code: int
    message: str
    data: Any = None

    @classmethod
    def from_code(cls, code: JsonRpcErrorCode, message: str | None = None, data: Any = None) -> Self:
        """Make the error of a code; its message is that of the code by default."""
        return cls(code=code, message=message or code.name.replace("_", " ").capitalize(), data=data)


class JsonRpcResponse(BaseModel):
    """A response of JSON-RPC 2.0: it is sent with a result or an error, not both."""

    jsonrpc: Literal["2.0"] = "2.0"
    result: Any = None
    error: JsonRpcError | None = None
    id: str | int | None = None

    @classmethod
    def success(cls, result: Any, request_id: str | int | None = None) -> Self:
        """Make the response to a request that succeeded."""
        return cls(result=result, id=request_id)

    @classmethod
    def error_response(
        cls,
        code: JsonRpcErrorCode,
        message: str | None = None,
        data: Any = None,
        request_id: str | int | None = None,
    ) -> Self:
        """Make the response to a request that failed."""
        return cls(error=JsonRpcError.from_code(code, message, data), id=request_id)

    @model_serializer(mode="wrap")
    def _with_one(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unsaid = "result" if self.error is not None else "error"
        return {name: value for name, value in serialize(self).items() if name != unsaid}


class WSMCPMessage(BaseModel):
    """A request of JSON-RPC 2.0 as a message of version 1 of the protocol."""

    type: Literal["mcp"] = "mcp"
    data: dict[str, Any]


class WSMCPResponse(BaseModel):
    """A response of JSON-RPC 2.0 as a message of version 1 of the protocol."""

    type: str = "mcp"
    data: dict[str, Any]
