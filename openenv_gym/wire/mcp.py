"""The request for an environment's tools, as the Model Context Protocol has it."""

from __future__ import annotations

from typing import Any

TOOLS_REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def listed_tools(response: Any) -> list[dict[str, Any]] | None:
    """Return the tools in a response to `TOOLS_REQUEST`; None if it has none, because it is an error."""
    result = response.get("result") if isinstance(response, dict) else None
    tools = result.get("tools") if isinstance(result, dict) else None
    if isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools):
        return tools
    return None
