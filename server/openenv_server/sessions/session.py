"""A session: one environment, and the thread that makes, drives and closes it."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from time import monotonic, perf_counter
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from openenv_server.blocking import watched
from openenv_server.calls import EnvironmentCalls
from openenv_server.errors import (
    DeadlinePassedError,
    FactoryFailedError,
    ServerError,
    SessionAbandonedError,
    StepLimitExceededError,
    log_error,
)
from openenv_server.gymnasium_environment import GymnasiumEnvironment
from openenv_server.serialization import observation_json, state_json
from openenv_server.sessions.counters import Counters, Durations
from openenv_server.sessions.first_calls import FirstCalls
from openenv_server.sessions.lifecycle import Client, EndReason
from openenv_server.sessions.running import find_in_this_thread
from openenv_server.sessions.threads import WorkerThread
from openenv_server.step_lock import StepLock
from openenv_server.tools.jsonrpc import respond
from openenv_server.tools.published import ClientTools, Tools, tools_of
from openenv_server.vector_environment import VectorEnvironment

# How long an environment may take to close, in seconds.
CLOSE_TIMEOUT_S = 10.0
# For how long an environment that was given up may keep others from running while it closes, in seconds.
_LATE_CLOSE_S = 0.05

# A call may have waited for its turn behind one that hangs. Once its turn has come, it gets so many seconds
# even if the client's deadline has passed; but it is given up so many seconds after the deadline in any case.
LEAST_S = 0.25
LATEST_S = 2.0
_CHECK_INTERVAL_S = 0.05

Factory = Callable[[], Any]
T = TypeVar("T")
log = logging.getLogger("openenv_server")


class StepCounts(NamedTuple):
    """How often a session has done what."""

    steps: int
    resets: int


class Session:
    """One environment and its thread. ``async`` methods of the environment run on the event loop instead.

    Args:
        factory: Makes the environment.
        action_model: The model of its actions.
        counters: The server's counters.
        client: Who uses it.
        step_timeout_s: The most seconds that `reset` and `step` may take; None is unlimited.
        first_calls: The server's.
        places: How many of the server's places it takes.

    Attributes:
        id: Its name in the log.
        environment: The environment, once `open` has made it.
        calls: How to call the environment, once `open` has made it.
        reset_method: Its method that resets.
        step_method: Its method that steps.
        tools: Its tools, if it has some.
        counts: Returns the steps and resets so far. A slot of protocol version 2 replaces it with its own.
        step_lock: Held around every call of an environment that must not run beside others, else None.
        submit: Queues a job on the thread that handles its own result.
        client: As given.
        opened_at: When it was opened for its client, on the monotonic clock.
        end_reason: Why it ended, once it has.
        is_passing: Whether it is open for a single request.
        is_abandoned: Whether nobody waits any more for the environment to return.
        is_settled: Whether that thread has returned since, and everything is closed.
        is_closing: Whether the environment's own ``close`` has begun.
        closing: The task that closes it.
        pending: The coroutine of the environment that its thread waits for, if any.
    """

    environment: Any = None
    calls: EnvironmentCalls
    reset_method: Callable[..., Any]
    step_method: Callable[..., Any]
    tools: Tools | None = None

    def __init__(
        self,
        factory: Factory,
        action_model: type[BaseModel],
        counters: Counters,
        client: Client,
        step_timeout_s: float | None = None,
        first_calls: FirstCalls | None = None,
        *,
        places: int = 1,
    ) -> None:
        self.id: str = secrets.token_hex(4)
        self.client = client
        self.opened_at: float = monotonic()
        self.end_reason = EndReason.CLIENT_LEFT
        self.counts: Callable[[], StepCounts] = lambda: StepCounts(self._steps, self._resets)
        self._steps = self._resets = 0
        self.places = places
        self._counters = counters
        self._factory = factory
        self._action_model = action_model
        self._first_calls = first_calls or FirstCalls()
        self._step_timeout_s = step_timeout_s
        self.is_passing: bool = False
        self.is_abandoned: bool = False
        self.is_settled: bool = False
        self.is_closing: bool = False
        self._is_closed = False
        self.closing: asyncio.Task[None] | None = None
        self.pending: Future[Any] | None = None
        self._thread = WorkerThread()
        self._made: Future[Any] | None = None
        self.step_lock: StepLock | None = None
        self.submit: Callable[[Callable[[], None]], None] = self._thread.submit
        self.submit(lambda: find_in_this_thread(lambda: self))

    def make(self) -> Future[Any]:
        """Begin to make the environment, on the session's thread; `open` waits for it."""
        made: Future[Any] = Future()

        def work() -> None:
            try:
                made.set_result(self._make())
            except BaseException as error:
                made.set_exception(error)

        self._made = made
        self._thread.submit(work)
        return made

    @property
    def is_made(self) -> bool:
        """Whether the factory has returned, or failed."""
        return self._made is not None and self._made.done()

    async def open(self) -> None:
        """Make the environment, or wait for it if `make` was called. May be called again if cancelled.

        Raises:
            FactoryFailedError: The factory raised.
        """
        try:
            self.environment = await self.run((self._made or self.make()).result)
        except Exception as error:
            self._thread.stop()
            name = getattr(self._factory, "__name__", repr(self._factory))
            error_id = log_error(error, f"the environment factory {name} failed", **self.log_fields)
            message = f"{name}() raised {type(error).__name__}: {error}"
            raise FactoryFailedError(name, message, error_id) from error
        calls = self.calls = EnvironmentCalls(type(self.environment))
        self.reset_method = getattr(self.environment, calls.reset_name)
        self.step_method = getattr(self.environment, calls.step_name)
        self.tools = tools_of(self.environment, self._action_model, calls)
        if calls.has_own_loop and isinstance(self.tools, ClientTools):
            if calls.reset_is_async:
                self.reset_method, calls.reset_is_async = self.tools.runs(self.reset_method), False
            if calls.step_is_async:
                self.step_method, calls.step_is_async = self.tools.runs(self.step_method), False
        if isinstance(self.environment, GymnasiumEnvironment | VectorEnvironment):
            self.step_lock = self.environment.step_lock

    def _make(self) -> Any:
        with self._first_calls.alone("make"):
            return self._factory()

    @property
    def thread(self) -> threading.Thread:
        """The session's thread."""
        return self._thread.thread

    @property
    def log_fields(self) -> dict[str, Any]:
        """The fields that its log records have beside the message."""
        client = self.client
        return {
            "session": self.id,
            "client": client.address,
            "protocol": client.protocol,
            "agent": client.agent,
        }

    def age_s(self) -> float:
        """Seconds since it was opened for its client."""
        return round(monotonic() - self.opened_at, 3)

    def turn(self, call: str) -> AbstractContextManager[None]:
        """Wait for this session's turn to call a method of its environment, and hold it.

        Calls run in parallel unless the environment must not run beside others, but for the first reset and
        the first render of a server.

        Raises:
            SessionAbandonedError: The session was given up while it waited for its turn.
        """
        if self.step_lock is not None:
            return self._alone(self.step_lock)
        return self._first_calls.alone(call) if call in ("reset", "render") else nullcontext()

    @contextmanager
    def _alone(self, lock: StepLock) -> Iterator[None]:
        with lock.held_by(self):
            if self.is_abandoned:
                raise SessionAbandonedError  # nobody would take the lock from it if the call hangs
            yield

    async def reset(self, data: dict[str, Any], timeout_s: float | None = None) -> str:
        """Start an episode; returns the result as JSON text.

        Args:
            data: The keywords.
            timeout_s: How long the client waits, in seconds, if it says so.

        Raises:
            StepLimitExceededError: It took too long. The session is unusable afterwards.
            DeadlinePassedError: It took longer than the client waits. The same.
        """
        arguments, report = self.calls.reset_arguments(data)
        call = partial(self.reset_method, **arguments)
        is_async, durations = self.calls.reset_is_async, self._counters.reset_s
        text = await self._timed("reset", call, is_async, durations, timeout_s, report)
        self._resets += 1
        return text

    async def step(
        self, action: Any, extras: dict[str, Any] | None = None, timeout_s: float | None = None
    ) -> str:
        """Take one action; returns the result as JSON text.

        Args:
            action: The action.
            extras: Further keywords for the environment's own ``step``.
            timeout_s: How long the client waits, in seconds, if it says so.

        Raises:
            StepLimitExceededError: It took too long. The session is unusable afterwards.
            DeadlinePassedError: It took longer than the client waits. The same.
        """
        arguments = self.calls.step_arguments(extras) if extras else {}
        call = partial(self.step_method, action, **arguments)
        is_async, durations = self.calls.step_is_async, self._counters.step_s
        text = await self._timed("step", call, is_async, durations, timeout_s)
        self._steps += 1
        return text

    async def _timed(
        self,
        name: str,
        call: Callable[[], Any],
        is_async: bool,
        durations: Durations,
        timeout_s: float | None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        """Call the environment, and record how long the call waited and how long it took."""
        arrived = perf_counter()

        def as_text(result: Any, begin: float, end: float) -> str:
            text = observation_json(result, metadata)
            durations.add(end - begin)
            self._counters.queue_s.add(begin - arrived)
            return text

        if is_async:
            method: Callable[[], Coroutine[Any, Any, Any]] = call
            called = self.calls.step_name if name == "step" else self.calls.reset_name
            work_on_loop = watched(method(), self.calls.kind, called)
            result = await self._in_time(work_on_loop, arrived, [arrived], timeout_s)
            return as_text(result, arrived, perf_counter())

        begun: list[float] = []

        def work() -> str:
            with self.turn(name):
                begin = perf_counter()
                begun.append(begin)
                result = call()
                end = perf_counter()
            return as_text(result, begin, end)

        return await self._in_time(self._thread.run(work), arrived, begun, timeout_s)

    async def _in_time(
        self, work: Awaitable[T], arrived: float, begun: list[float], timeout_s: float | None
    ) -> T:
        """Await some work, which adds to ``begun`` when its turn has come."""
        limits = [limit for limit in (self._step_timeout_s, timeout_s) if limit is not None]
        if not limits:
            return await work
        loop = asyncio.get_running_loop()
        future = asyncio.ensure_future(work)
        late: ServerError | None = None
        timer: asyncio.TimerHandle

        def check() -> None:
            nonlocal late, timer
            late = self._lateness(arrived, begun[0] if begun else math.inf, timeout_s)
            if late is None:
                timer = loop.call_later(_CHECK_INTERVAL_S, check)
            else:
                future.cancel()

        timer = loop.call_later(min(limits), check)
        try:
            return await future
        except asyncio.CancelledError:
            if late is None:
                raise
            raise late from None
        finally:
            timer.cancel()

    def _lateness(self, arrived: float, begin: float, timeout_s: float | None) -> ServerError | None:
        """The error if a call takes too long. Waiting for its turn counts little."""
        now = perf_counter()
        if self._step_timeout_s is not None and now - begin >= self._step_timeout_s:
            return StepLimitExceededError(self._step_timeout_s)
        if timeout_s is not None:
            late_s = now - arrived - timeout_s
            if late_s >= LATEST_S or (late_s >= 0 and now - begin >= LEAST_S):
                return DeadlinePassedError(timeout_s)
        return None

    async def state(self) -> str:
        """The environment's state as JSON text."""

        def read() -> str:
            with self.turn("state"):
                state = self.environment.state
                return state_json(state() if callable(state) else state)

        return await self.run(read)

    async def mcp(self, message: Any, *, is_standard: bool = False) -> dict[str, Any] | None:
        """Answer a request of the Model Context Protocol, as `respond` does."""

        def answer() -> dict[str, Any] | None:
            with self.turn("mcp"):
                return respond(self.environment, self.tools, message, is_standard=is_standard)

        return await self.run(answer)

    async def run(self, work: Callable[[], T]) -> T:
        """Run something on the session's thread."""
        return await self._thread.run(work)

    async def close(self) -> None:
        """Close the environment and end the thread. Safe to call again."""
        if self._is_closed:
            return
        self._is_closed = True
        close: Any = getattr(self.environment, "close", lambda: None)
        loop = asyncio.get_running_loop()

        def close_in_turn() -> None:
            self.is_closing = True
            # Not as a first call: one that hangs in another session must not delay the server's end.
            if isinstance(self.tools, ClientTools):
                self.tools.close()
            lock = self.step_lock
            if lock is None:
                close()
                return
            with lock.held_by(self):
                # It may have been given up while it waited for the lock.
                limit_s = _LATE_CLOSE_S if self.is_abandoned else CLOSE_TIMEOUT_S
                with _released_after(loop, lock, self, limit_s):
                    close()

        try:
            if self.calls.close_is_async:
                self.is_closing = True
                await watched(close(), self.calls.kind, "close")
            else:
                await self.run(close_in_turn)
        except Exception:
            log.exception("closing %s failed", type(self.environment).__name__, extra=self.log_fields)
        finally:
            self._thread.stop()


@contextmanager
def _released_after(
    loop: asyncio.AbstractEventLoop, lock: StepLock, holder: Session, seconds: float
) -> Iterator[None]:
    """Release a lock if what is done in the ``with`` block takes longer."""
    timers: list[asyncio.TimerHandle] = []

    def start() -> None:
        timers.append(loop.call_later(seconds, lock.release, holder))

    def stop() -> None:
        timers.pop().cancel()  # it would keep the whole connection in memory

    with suppress(RuntimeError):  # the server has stopped
        loop.call_soon_threadsafe(start)
    try:
        yield
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop)
