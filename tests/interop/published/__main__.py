"""Serve all of `apps` with our server, and print the base URL of each: python -m published."""

from __future__ import annotations

import json
import threading
import time

import uvicorn
from openenv_server.published_package import use_this_server
from openenv_server.socket_takeover import TakeoverProtocol

use_this_server()

from published import apps  # noqa: E402

servers, urls = [], {}
for name in ("counted", "echo", "steps", "routes"):
    config = uvicorn.Config(
        getattr(apps, name), port=0, ws=TakeoverProtocol, log_level="warning", ws_per_message_deflate=False
    )
    socket = config.bind_socket()
    urls[name] = f"http://127.0.0.1:{socket.getsockname()[1]}"
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True).start()
    servers.append(server)
while not all(server.started for server in servers):
    time.sleep(0.05)
print(json.dumps(urls), flush=True)
threading.Event().wait()
