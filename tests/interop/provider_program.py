"""Uses the providers of `openenv-sprites` and `openenv-openshell` with both clients; prints the results.

The argument is the base URL of the counter of `client_servers`, which stands for the rented server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import httpx
import openenv_openshell.provider
from openenv_openshell import OpenShellProvider
from openenv_openshell._adapter import Deletion, Sandbox
from openenv_sprites import SpritesProvider

import openenv.core
import openenv_gym

SERVER = sys.argv[1]
openenv_openshell.provider.package_version = lambda name: "0"


class Sprites(SpritesProvider):
    """Installs nothing."""

    def _prepare_sprite(self, *arguments: Any) -> None:
        pass


def sprites() -> tuple[Any, MagicMock]:
    sprite = MagicMock()
    sprite.url = SERVER
    client = MagicMock(token="secret", http_client=httpx.Client())
    client.create_sprite.return_value = sprite
    return Sprites(source="https://example.com/env.git", client=client), sprite


class Adapter:
    """A gateway whose only sandbox is the server."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def create(self, request: Any) -> Sandbox:
        self.sandbox = Sandbox(request.name, "id", {request.service_name: SERVER})
        return self.sandbox

    def wait_ready(self, sandbox_name: str, **options: Any) -> Sandbox:
        return self.sandbox

    def service_url(self, sandbox: Sandbox, service_name: str) -> str:
        return SERVER

    def delete(self, sandbox_name: str, **options: Any) -> Deletion:
        self.deleted.append(sandbox_name)
        return Deletion("id", "completed")

    def wait_deleted(self, sandbox_name: str, **options: Any) -> None:
        pass

    def close(self) -> None:
        pass


class OpenShell(OpenShellProvider):
    def __init__(self, adapter: Adapter) -> None:
        super().__init__(restricted_alpha_cleanup_acknowledged=True, command=["python", "-m", "server"])
        self.used = adapter

    def _connect_adapter(self) -> Any:
        return self.used


def played(client: Any) -> list[int]:
    totals = [client.reset(start=3), client.step({"amount": 4})]
    return [result.observation["total"] for result in totals]


def use(client_class: Any) -> dict[str, Any]:
    provider, sprite = sprites()
    env = client_class.from_docker_image("https://example.com/env.git", provider=provider).sync()
    results: dict[str, Any] = {"sprites": {"totals": played(env)}}
    env.close()
    results["sprites"]["ended"] = sprite.destroy.called

    async def connect() -> Any:
        provider, sprite = sprites()
        async with client_class(provider=provider) as env:
            totals = [await env.reset(start=3), await env.step({"amount": 4})]
        return {"totals": [result.observation["total"] for result in totals], "ended": sprite.destroy.called}

    results["sprites, connect"] = asyncio.run(connect())
    adapter = Adapter()
    env = client_class.from_docker_image("registry.example/env:1", provider=OpenShell(adapter)).sync()
    results["openshell"] = {"totals": played(env)}
    env.close()
    results["openshell"]["ended"] = len(adapter.deleted) == 1
    return results


clients = SimpleNamespace(openenv=openenv.core.GenericEnvClient, openenv_gym=openenv_gym.GenericEnvClient)
print(json.dumps({name: use(client) for name, client in vars(clients).items()}))
