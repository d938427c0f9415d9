"""Step many clients in one event loop, each in its own task: python clients.py PACKAGE URL SESSIONS.

PACKAGE has the client: ``openenv_gym``, or ``openenv.core`` of the published package.

Reads numbers of steps from standard input, and prints the seconds that each took.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module
from typing import Any


async def play(client: Any, steps: int) -> None:
    """Take some steps of one client. A reset counts as a step."""
    done = False
    for step in range(steps):
        result = await (client.reset() if done else client.step({"action": step % 2}))
        done = result.done


async def main(package: str, base_url: str, sessions: int) -> None:
    """Open the sessions, and step them as often as requested."""
    clients = [import_module(package).GenericEnvClient(base_url=base_url) for _ in range(sessions)]
    for client in clients:
        await client.connect()
        await client.reset()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        begin = time.perf_counter()
        await asyncio.gather(*(play(client, int(line)) for client in clients))
        print(time.perf_counter() - begin, flush=True)
    for client in clients:
        await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
