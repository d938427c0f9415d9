"""Autoplay in tabs without a browser: python -m benchmarks.playground URL TABS STEPS_PER_S.

It reads lines: "on" or "off" starts or stops the autoplay of all tabs, and is answered once that is done.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import Any

import httpx


class Tab:
    """What a browser does for one tab: it stays connected, and reads what follows.

    Args:
        client: The client.
        autoplay: The dependency of the autoplay button, from the page's configuration.
        steps_per_s: The speed.
    """

    def __init__(self, client: httpx.AsyncClient, autoplay: dict[str, Any], steps_per_s: float) -> None:
        self._client, self._steps_per_s = client, steps_per_s
        self._hash = secrets.token_hex(6)
        self._event = {
            "fn_index": autoplay["id"],
            "trigger_id": autoplay["targets"][0][0],
            "data": [steps_per_s, None, "{}"],
            "event_data": None,
            "session_hash": self._hash,
        }
        self.is_on = asyncio.Event()
        self.has_stepped = asyncio.Event()
        self._connected = asyncio.Event()

    async def run(self) -> None:
        """Stay connected, and autoplay while it is on."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_connected())
            await self._connected.wait()
            while True:
                await self.is_on.wait()
                await self._play()

    async def _stay_connected(self) -> None:
        async with self._client.stream("GET", f"gradio_api/heartbeat/{self._hash}") as response:
            async for _ in response.aiter_bytes():
                self._connected.set()

    async def _play(self) -> None:
        """Play until the episode ends, or autoplay is off: a tab that closes its stream stops it."""
        (await self._client.post("gradio_api/queue/join", json=self._event)).raise_for_status()
        query = {"session_hash": self._hash}
        async with self._client.stream("GET", "gradio_api/queue/data", params=query) as response:
            async for line in response.aiter_lines():
                if '"process_generating"' in line:
                    self.has_stepped.set()
                if '"process_completed"' in line or not self.is_on.is_set():
                    break


async def run(url: str, count: int, steps_per_s: float) -> None:
    """Open tabs, and turn their autoplay on and off as the lines say."""
    loop = asyncio.get_running_loop()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"{url}/web/", timeout=None, limits=limits) as client:
        while (page := await client.get("config")).status_code == 503:
            await asyncio.sleep(0.5)
        dependencies = page.json()["dependencies"]
        autoplay = next(each for each in dependencies if each["api_name"] == "on_autoplay")
        tabs = [Tab(client, autoplay, steps_per_s) for _ in range(count)]
        running = [asyncio.create_task(tab.run()) for tab in tabs]
        print("ready", flush=True)
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            for tab in tabs:
                if line == "on":
                    tab.has_stepped.clear()
                    tab.is_on.set()
                    await tab.has_stepped.wait()
                else:
                    tab.is_on.clear()
            if line != "on":
                await asyncio.sleep(2 / steps_per_s)  # by then the last steps are done
            print(line, flush=True)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
