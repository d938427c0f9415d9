"""Step with the published package's client: python client.py URL SESSIONS.

Reads numbers of steps from standard input, and prints the seconds that each took.
"""

from __future__ import annotations

import asyncio
import sys
import time

from openenv.core import GenericEnvClient


async def main(base_url: str, sessions: int) -> None:
    """Open the sessions, and step them as often as requested."""
    clients = [GenericEnvClient(base_url=base_url) for _ in range(sessions)]
    for client in clients:
        await client.connect()
        await client.reset()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        begin = time.perf_counter()
        if sessions == 1:
            for step in range(int(line)):
                await clients[0].step({"action": step % 2})
        else:
            for step in range(int(line)):
                await asyncio.gather(*(client.step({"action": step % 2}) for client in clients))
        print(time.perf_counter() - begin, flush=True)
    for client in clients:
        await client.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
