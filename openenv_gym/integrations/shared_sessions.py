"""Sessions that share a connection, for callers that block, in any thread."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from openenv_gym.client import PayloadCoding
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.session import Outcome, Session
from openenv_gym.session.shared import shared_connections
from openenv_gym.transport.asynchronous import AsyncTransport
from openenv_gym.transport.connection import MAX_MESSAGE_SIZE
from openenv_gym.transport.endpoint import Endpoint

T = TypeVar("T")


class LoopThread:
    """An event loop on a thread, which starts when it is first needed. A forked process starts its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._starting = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and wait for it. If the wait is interrupted, it is cancelled."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and what runs on it. Safe to call again."""
        with self._starting:
            loop, self._loop = self._loop, None
            if loop is not None and self._process == os.getpid():
                loop.call_soon_threadsafe(loop.stop)
                self._thread.join()
        atexit.unregister(self.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._process != os.getpid():
                self._loop, self._process = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="openenv-sessions", daemon=True
                )
                self._thread.start()
                atexit.register(self.stop)
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


class SharedSessions:
    """Sessions on one server, which share a connection if the server speaks version 2 of the protocol.

    Args:
        endpoint: The server.
        timeouts: How long to wait.
    """

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts) -> None:
        self.endpoint = endpoint
        self.timeouts: Timeouts = timeouts
        self.thread: LoopThread = LoopThread()

    def session(self, capacity_timeout_s: float = 0.0) -> SharedSession:
        """Return a session, which opens with its first reset.

        Args:
            capacity_timeout_s: As in `openenv_gym.RemoteEnv`.
        """
        return SharedSession(self, capacity_timeout_s)

    def close(self) -> None:
        """End all sessions. A later reset opens a session again."""
        self.thread.stop()


class SharedSession:
    """A `Session` whose methods block."""

    def __init__(self, shared: SharedSessions, capacity_timeout_s: float) -> None:
        self.endpoint: Endpoint = shared.endpoint
        self._thread = shared.thread
        self._session = Session(
            shared.endpoint,
            AsyncTransport(),
            PayloadCoding(),
            shared.timeouts,
            capacity_timeout_s=capacity_timeout_s,
            shared=partial(shared_connections, shared.endpoint, MAX_MESSAGE_SIZE),
        )

    @property
    def is_open(self) -> bool:
        """Whether the session can be used."""
        return self._session.is_open

    def reset(self, data: dict[str, Any]) -> Outcome:
        """Begin an episode, as `Session.reset` does."""
        return self._thread.run(self._session.reset(data))

    def step(self, action: dict[str, Any]) -> Outcome:
        """Take one action, as `Session.step` does."""
        return self._thread.run(self._session.step(action))
