"""The spaces of servers whose actions call tools, as the Model Context Protocol has them.

The schemas of such a server say only that an action has a name and some arguments. So a client asks for the
tools, and adds them to the schemas under `TOOLS_KEYWORD`; the spaces are made from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.schema_keywords import TOOLS_KEYWORD
from openenv_gym.spaces import codecs
from openenv_gym.spaces.codecs.base import misfit
from openenv_gym.spaces.compiler import Compiler, SchemaFinding
from openenv_gym.spaces.custom import JsonText, UnicodeText, canonical_json, ordered_dict
from openenv_gym.spaces.keywords import check_keywords
from openenv_gym.spaces.schema import Node, Schema, open_schema

# The fields of an observation's payload that become the fields of the same space for every tool.
RESULT_FIELDS = frozenset({"tool_name", "result", "error", "tools"})


class Tool(NamedTuple):
    """A tool of an environment.

    Attributes:
        name: Its name.
        description: What it does, for whoever chooses an action.
        input_schema: The JSON Schema of its arguments.
        space: The space of its arguments.
    """

    name: str
    description: str
    input_schema: Schema
    space: spaces.Space[Any]


def takes_tool_calls(action_schema: Schema) -> bool:
    """Return whether an action is the call of a tool: a name and arguments of any kind.

    Raises:
        SchemaError: ``action_schema`` is no schema.
    """
    check_keywords(action_schema)
    properties = action_schema.get("properties", {})
    kind = properties.get("type")
    if not isinstance(kind, Mapping) or not {"tool_name", "arguments"} <= properties.keys():
        return False
    check_keywords(kind, "type")
    return "call_tool" in (kind.get("const"), kind.get("default"), *kind.get("enum", ()))


def with_tools(schema: Schema, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of an action or an observation with a server's tools, as ``tools/list`` has them."""
    known = [
        {
            "name": str(tool.get("name")),
            "description": str(tool.get("description") or ""),
            "input_schema": tool.get("input_schema") or tool.get("inputSchema") or {},
        }
        for tool in tools
    ]
    return {**schema, TOOLS_KEYWORD: known}


def tools_of(codec: codecs.Codec) -> tuple[Tool, ...]:
    """Return the tools that the actions of a codec call; none if they are no calls."""
    return codec.tools if isinstance(codec, ToolCallCodec) else ()


def compile_tool_calls(root: Node, compiler: Compiler) -> ToolCallCodec:
    """Return the codec of calls of the tools in an action's schema."""
    tools, arguments = [], []
    for tool in root.schema[TOOLS_KEYWORD]:
        node = open_schema(tool["input_schema"], tool["name"], root.document)
        place = len(compiler.report)
        codec = compiler.fields(node)
        finding = SchemaFinding(tool["name"], "the arguments of a tool", codec.space)
        compiler.report.insert(place, finding)
        arguments.append(codec)
        tools.append(Tool(tool["name"], tool["description"], tool["input_schema"], codec.space))
    return ToolCallCodec(tools, arguments)


class ToolCallCodec(codecs.Codec):
    """`OneOf` with one `Dict` of arguments a tool: ``(index of the tool, arguments)``."""

    def __init__(self, tools: Sequence[Tool], arguments: Sequence[codecs.DictCodec]) -> None:
        self.tools: tuple[Tool, ...] = tuple(tools)
        self.arguments = tuple(arguments)
        self.names: list[str] = [tool.name for tool in tools]
        self.space: spaces.OneOf[Any] = spaces.OneOf([codec.space for codec in arguments])

    def encode(self, element: Any) -> dict[str, Any]:
        index, arguments = element
        return {
            "type": "call_tool",
            "tool_name": self.names[int(index)],
            "arguments": self.arguments[int(index)].encode(arguments),
        }

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        try:
            index = self.names.index(payload["tool_name"])
        except (TypeError, KeyError, ValueError):
            raise SpaceError(f"{payload!r} calls none of the tools {', '.join(self.names)}") from None
        return np.int64(index), self.arguments[index].decode(payload.get("arguments") or {})


class ToolResultCodec(codecs.Codec):
    """`Dict` of what a tool said: ``tool``, ``text``, ``data`` and ``error``, and the author's own fields.

    After a reset, and for whatever a server leaves out, the texts are empty and ``data`` is null.

    Args:
        own: The codec of the author's own fields.
    """

    def __init__(self, own: codecs.DictCodec) -> None:
        self._own = own
        parts = {"tool": UnicodeText(), "text": UnicodeText(), "data": JsonText(), "error": UnicodeText()}
        its_own = {name: part.space for name, part in own.parts.items()}
        self.space: spaces.Dict = ordered_dict({**parts, **its_own})
        self.report: list[SchemaFinding] = [
            SchemaFinding(name, "what a tool said", space) for name, space in parts.items()
        ]

    def encode(self, element: Any) -> dict[str, Any]:
        kind, _, message = element["error"].partition(": ")
        result = {
            "content": [{"type": "text", "text": element["text"]}],
            "structured_content": json.loads(element["data"]),
            "is_error": bool(element["error"]),
        }
        return {
            "tool_name": element["tool"],
            "result": result if element["text"] or element["data"] != "null" else None,
            "error": {"error_type": kind, "message": message} if element["error"] else None,
            **self._own.encode({name: element[name] for name in self._own.parts}),
        }

    def decode(self, payload: Any) -> dict[str, Any]:
        if not isinstance(payload, dict):
            raise misfit(payload, self.space)
        result, error = payload.get("result"), payload.get("error")
        text, data = _content(result)
        if "tools" in payload and result is None:
            data = payload["tools"]
        if isinstance(error, dict):
            error = f"{error.get('error_type') or 'error'}: {error.get('message') or ''}"
        elif not error and isinstance(result, dict) and (result.get("is_error") or result.get("isError")):
            error = f"execution_error: {text}"
        return {
            "tool": str(payload.get("tool_name") or ""),
            "text": text,
            "data": canonical_json(data),
            "error": str(error or ""),
            **self._own.decode({name: payload[name] for name in self._own.parts if name in payload}),
        }


def _content(result: Any) -> tuple[str, Any]:
    """Return the text and the structured data of a tool's result, in any of the forms that servers send."""
    if result is None:
        return "", None
    if not isinstance(result, dict) or not isinstance(result.get("content"), list):
        return result if isinstance(result, str) else canonical_json(result), result
    texts = [str(part.get("text") or "") for part in result["content"] if isinstance(part, dict)]
    structured = next(
        (
            result[name]
            for name in ("data", "structured_content", "structuredContent")
            if result.get(name) is not None
        ),
        None,
    )
    return "\n".join(filter(None, texts)), structured
