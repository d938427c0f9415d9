"""Serve folders, each from its own process, which is forked after the imports: `serve_all.py FOLDER…`.

With the published package these are its servers, with ours ours. Prints a line of JSON with the ports.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def _serve_theirs(folder: Path, port: int) -> None:
    """Serve from inside the folder, or from above if it has no openenv.yaml or its imports need that."""
    import uvicorn

    texts = [file.read_text() for file in (folder / "server").glob("*.py")]
    above = not (folder / "openenv.yaml").exists() or any("\nfrom .." in text for text in texts)
    sys.path[:0] = [str(folder.parent)] if above else [str(folder), str(folder.parent)]
    application = f"{folder.name}.server.app" if above else "server.app"
    app = importlib.import_module(application).app
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def _serve_ours(folder: Path, port: int) -> None:
    from openenv_server.__main__ import main

    os.environ["PORT"] = str(port)
    main([str(folder)])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _import_all() -> None:
    """Import what every server needs, once."""
    import fastmcp
    import uvicorn.protocols.http.auto
    import uvicorn.protocols.websockets.auto  # noqa: F401

    import openenv.core.env_server.http_server
    import openenv.core.env_server.mcp_environment
    import openenv.core.rubrics  # noqa: F401

    async def use() -> None:
        server: Any = fastmcp.FastMCP("warm")
        server.tool(_free_port)
        async with fastmcp.Client(server) as client:
            await client.call_tool("_free_port")

    asyncio.run(use())


def main(folders: list[str]) -> None:
    """Fork a server for each folder, and end them all when standard input ends."""
    _import_all()
    ours = importlib.util.find_spec("openenv_server") is not None
    ports, children = {}, []
    for folder in (Path(name).resolve() for name in folders):
        port = ports[folder.name] = _free_port()
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            os.dup2(2, 1)
            (_serve_ours if ours else _serve_theirs)(folder, port)
            os._exit(0)
        children.append(child)
    print(json.dumps(ports), flush=True)
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGTERM)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
