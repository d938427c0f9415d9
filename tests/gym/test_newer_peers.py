"""Messages and fields of a newer peer: ignored or refused by name, and never the end of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from openenv_server import create_app
from openenv_server.connections.worker import ConnectionWorker

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode
from tests.support.napper import Nap, Napper, Slept
from tests.support.proxy import FaultProxy
from tests.support.servers import running
from tests.support.v2_client import V2Client


def framed(message: Any) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "little") + body


NEWS = framed({"type": "news", "about": "the server", "slots": [0]})


@pytest.fixture
def base_url() -> Iterator[str]:
    with running(create_app(Napper, Nap, Slept)) as base_url:
        yield base_url


@pytest.fixture
def newer_server(base_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server whose answers have another field each, with another message before each and after it."""
    send = ConnectionWorker._send

    def send_more(worker: ConnectionWorker, parts: list[v2.Payload]) -> None:
        whole = b"".join(parts)
        size = int.from_bytes(whole[:4], "little")
        assert len(whole) == 4 + size, "nothing is attached to small messages"
        raw = msgspec.msgpack.Decoder(ext_hook=msgspec.msgpack.Ext).decode(whole[4:])
        send(worker, [NEWS])
        send(worker, [framed({**raw, "novel": {"of": [2.0]}})])
        send(worker, [NEWS])

    monkeypatch.setattr(ConnectionWorker, "_send", send_more)
    return base_url


def test_clients_ignore_what_a_newer_server_adds(newer_server: str) -> None:
    with FaultProxy(newer_server, faults={}) as proxy:
        env, envs = RemoteEnv(proxy.base_url), RemoteVectorEnv(proxy.base_url, 3)
        assert env.reset()[0] == 0
        assert envs.reset()[0].tolist() == [0] * 3
        for step in (1, 2, 3):
            assert env.step(0.0)[0] == step
            assert envs.step(np.zeros(3))[0].tolist() == [step] * 3
            proxy.cut()  # and resume
        env.close()
        envs.close()

        async def drive() -> None:
            async with GenericEnvClient(proxy.base_url) as client:
                await client.reset()
                proxy.cut()
                assert (await client.step({"seconds": 0.0})).observation["naps"] == 1

        asyncio.run(drive())


def test_a_server_ignores_fields_and_names_messages_that_a_newer_client_adds(base_url: str) -> None:
    client = V2Client(base_url)
    client.open([0])
    client.send_bytes(framed({"type": "reset", "id": 50, "slots": [0], "novel": [1]}))
    client.send_bytes(framed({"type": "dance", "id": 51, "slots": [0]}))
    client.send_bytes(framed({"type": "step", "id": 52, "slots": [0], "actions": [{"seconds": 0.0}]}))
    answers = {}
    for _ in range(3):
        payload = bytes(client.receive_bytes())
        answer = v2.decode_answer(payload)
        assert isinstance(answer, v2.Result | v2.Failed)
        answers[answer.id] = answer
    refused = answers.pop(51)
    assert isinstance(refused, v2.Failed)
    assert refused.code == ErrorCode.UNKNOWN_TYPE
    assert set(answers) == {50, 52}
    client.close()
