"""Play an episode with the published client on each server.

Standard input has JSON: ``[[address, payload of an action, or null for tools], …]``. Standard output has what
happened, in that order: ``{"played": what was seen}`` or ``{"error": why not}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from openenv import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient


async def _play(address: str, action: dict[str, Any] | None) -> list[Any]:
    if action is None:
        client: Any = MCPToolClient(base_url=address)
        async with client as tools:
            await tools.reset()
            (first, *_) = await tools.list_tools()
            arguments = dict.fromkeys(first.input_schema.get("required", []), "a")
            return [first.name, await tools.call_tool(first.name, **arguments)]
    async with GenericEnvClient(base_url=address) as session:
        results = [await session.reset(seed=1), *[await session.step(action) for _ in range(3)]]
        seen = [[result.observation, result.reward, result.done] for result in results]
        return [*seen, (await session.state())["step_count"]]


async def _outcome(address: str, action: dict[str, Any] | None) -> dict[str, Any]:
    try:
        return {"played": await asyncio.wait_for(_play(address, action), 30)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def main() -> None:
    """Play on all servers, and report."""
    print(json.dumps([await _outcome(*given) for given in json.load(sys.stdin)]))


if __name__ == "__main__":
    asyncio.run(main())
