"""Sessions: one environment each, on a thread of its own, within the server's capacity."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from openenv_gym.errors import ConfigurationError
from openenv_server.calls import Calls, class_behind, own_attribute
from openenv_server.draining import REASON, Drain
from openenv_server.gymnasium_environment import GymnasiumEnvironment
from openenv_server.incidents import report
from openenv_server.metrics import Durations, Tally
from openenv_server.serialization import observation_json, state_json
from openenv_server.worker import StepLock, WorkerThread

DEFAULT_CAPACITY = 64

Factory = Callable[[], Any]
T = TypeVar("T")
log = logging.getLogger("openenv_server")


class CapacityReachedError(Exception):
    """All sessions are taken, or none is opened any more."""

    def __init__(self, active: int, capacity: int, *, kept: int = 0, is_stopping: bool = False) -> None:
        self.active = active
        self.capacity = capacity
        if is_stopping:
            message = f"{REASON} and opens no more sessions. Try another one, or this one once it is back"
        else:
            message = f"The server is at its capacity of {capacity} session{'s' if capacity != 1 else ''}"
            if kept:
                message += f"; {kept} of them wait for a client whose connection broke (RESUME_GRACE)"
            message += (
                ". Close one, or let the server have more (MAX_CONCURRENT_ENVS, or "
                "`openenv serve --max-sessions`)"
            )
        super().__init__(message)


class StepTimeoutError(Exception):
    """A reset or a step took too long; its thread is left to itself."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"The reset or the step took more than {limit_s:g} s, and its session is closed")


class FactoryFailedError(Exception):
    """The environment could not be made."""

    def __init__(self, factory_name: str, cause: Exception, error_id: str) -> None:
        self.factory_name = factory_name
        self.error_id = error_id
        super().__init__(f"{factory_name}() raised {type(cause).__name__}: {cause}")


class Session:
    """One environment and the thread that makes, drives and closes it.

    ``async`` methods of the environment run on the event loop instead.

    Args:
        factory: Makes the environment.
        tally: Where its durations are added.
        client: The client's address.
        step_timeout_s: The most seconds that `reset` and `step` may take; None for ever.

    Attributes:
        id: Its name in the log.
        steps_and_resets: How many there have been so far; a slot has counts of its own.
        calls: How the environment is called, once `open` has made it.
        step_lock: Held around every call of an environment that must not run beside others, else None.
        submit: Runs something on the thread that tells of its outcome itself.
        is_abandoned: Whether its thread is in a step that takes too long, and nobody waits for it any more.
        is_settled: Whether that thread has come back, and all is closed.
        closing: What closes it.
    """

    def __init__(
        self, factory: Factory, tally: Tally, client: str, step_timeout_s: float | None = None
    ) -> None:
        self.id = secrets.token_hex(4)
        self.client = client
        self.steps_and_resets: Callable[[], tuple[int, int]] = lambda: (self._steps, self._resets)
        self._steps = self._resets = 0
        self._tally = tally
        self._factory = factory
        self._step_timeout_s = step_timeout_s
        self.is_abandoned = self.is_settled = self._is_closed = False
        self.closing: asyncio.Task[None] | None = None
        self._thread = WorkerThread()
        self._environment: Any = None
        self.step_lock: StepLock | None = None
        self.calls: Calls
        self.submit = self._thread.submit

    @property
    def environment(self) -> Any:
        """The environment, once `open` has made it."""
        return self._environment

    async def open(self) -> None:
        """Makes the environment.

        Raises:
            FactoryFailedError: The factory raised.
        """
        try:
            self._environment = await self.run(self._factory)
        except Exception as error:
            self._thread.stop()
            name = getattr(self._factory, "__name__", repr(self._factory))
            error_id = report(error, f"the environment factory {name} failed", **self.log_fields)
            raise FactoryFailedError(name, error, error_id) from error
        self.calls = Calls(type(self._environment))
        if isinstance(self._environment, GymnasiumEnvironment):
            self.step_lock = self._environment.step_lock

    def turn(self) -> AbstractContextManager[None]:
        """Wait for this session's turn, if its environment must not run beside others, and hold it."""
        return nullcontext() if self.step_lock is None else self.step_lock.held_by(self)

    @property
    def log_fields(self) -> dict[str, Any]:
        """What a log record of it has beside its message."""
        return {"session": self.id, "client": self.client}

    async def reset(self, data: dict[str, Any]) -> str:
        """Starts an episode; returns the result as JSON text.

        Raises:
            StepTimeoutError: It took too long. The session is of no use any more.
        """
        arguments, seed_ignored = self.calls.reset_arguments(data)
        call = partial(getattr(self._environment, self.calls.reset_name), **arguments)
        extra = {"seed_ignored": True} if seed_ignored else None
        text = await self._timed(call, self.calls.reset_is_async, self._tally.reset_s, extra)
        self._resets += 1
        return text

    async def step(self, action: Any, extras: dict[str, Any] | None = None) -> str:
        """Takes one action; returns the result as JSON text. Raises what `reset` does."""
        arguments = self.calls.step_arguments(extras) if extras else {}
        call = partial(getattr(self._environment, self.calls.step_name), action, **arguments)
        text = await self._timed(call, self.calls.step_is_async, self._tally.step_s)
        self._steps += 1
        return text

    async def _timed(
        self,
        call: Callable[[], Any],
        is_async: bool,
        durations: Durations,
        extra: dict[str, Any] | None = None,
    ) -> str:
        """Has the environment do something, and adds how long it waited and how long it took."""
        arrived = perf_counter()

        def as_text(result: Any, begin: float, end: float) -> str:
            text = observation_json(result, extra)
            durations.add(end - begin)
            self._tally.queue_s.add(begin - arrived)
            return text

        if is_async:
            method: Callable[[], Awaitable[Any]] = call
            result = await self._in_time(method())
            return as_text(result, arrived, perf_counter())

        def work() -> str:
            with self.turn():
                if starts_late:
                    loop.call_soon_threadsafe(start_limit)
                begin = perf_counter()
                result = call()
                end = perf_counter()
            return as_text(result, begin, end)

        # Time spent waiting for the turn does not count.
        starts_late = self.step_lock is not None and self._step_timeout_s is not None
        loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)

        def start_limit() -> None:
            with suppress(RuntimeError):  # the result came first
                limit.reschedule(loop.time() + (self._step_timeout_s or 0))

        return await self._in_time(self.run(work), limit if starts_late else None)

    async def state(self) -> str:
        """Where the session stands, as JSON text."""

        def read() -> str:
            with self.turn():
                state = self._environment.state
                return state_json(state() if callable(state) else state)

        return await self.run(read)

    async def run(self, work: Callable[[], T]) -> T:
        """Runs something on the session's thread."""
        return await self._thread.run(work)

    async def _in_time(self, work: Awaitable[T], limit: asyncio.Timeout | None = None) -> T:
        limit_s = self._step_timeout_s
        if limit_s is None:
            return await work
        limit = limit or asyncio.timeout(limit_s)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise  # the environment's own
            raise StepTimeoutError(limit_s) from error

    def _in_turn(self, work: Callable[[], T]) -> T:
        with self.turn():
            return work()

    async def close(self) -> None:
        """Closes the environment, and lets the thread go. Safe to call again."""
        if self._is_closed:
            return
        self._is_closed = True
        close = getattr(self._environment, "close", None)
        try:
            if close is not None:
                await (close() if self.calls.close_is_async else self.run(partial(self._in_turn, close)))
        except Exception:
            log.exception("closing %s failed", type(self._environment).__name__, extra=self.log_fields)
        finally:
            self._thread.stop()


class Sessions:
    """All sessions of a server.

    Args:
        factory: Makes an environment.
        capacity: How many there may be at a time.
        step_timeout_s: The most seconds that a reset or a step may take; None for ever.

    Attributes:
        active: How many there are.
        abandoned_threads: Threads whose environment does not return.
        failures_in_a_row: How many environments could not be made since the last that could.
        worker: The number of this process among those that serve the same address.
        drain: Sees connections off when the server stops.
        tally: What is counted.
        kept: How many wait for a client whose connection broke.
        made_at: When the server was made, on the monotonic clock.
    """

    def __init__(self, factory: Factory, capacity: int, step_timeout_s: float | None = None) -> None:
        self.factory = factory
        self.capacity = capacity
        self.step_timeout_s = step_timeout_s
        self.active = self.abandoned_threads = self.failures_in_a_row = self.worker = 0
        self.drain = Drain()
        self.tally = Tally()
        self.kept: Callable[[], int] = lambda: 0
        self.made_at = time.monotonic()
        self._open: set[Session] = set()
        self._loop: asyncio.AbstractEventLoop

    async def open(self, client: str) -> Session:
        """A new session for the client at that address.

        Raises:
            CapacityReachedError: There is no room for one, or the server stops.
            FactoryFailedError: The environment could not be made.
        """
        if self.drain.is_under_way:
            raise CapacityReachedError(self.active, self.capacity, is_stopping=True)
        if self.active >= self.capacity:
            raise CapacityReachedError(self.active, self.capacity, kept=self.kept())
        self.active += 1
        self._loop = asyncio.get_running_loop()
        try:
            session = Session(self.factory, self.tally, client, self.step_timeout_s)
            await session.open()
        except BaseException as error:
            self.active -= 1
            self.failures_in_a_row += isinstance(error, FactoryFailedError)
            raise
        self.failures_in_a_row = 0
        self.tally.opened += 1
        self._open.add(session)
        log.info("session %s opened for %s", session.id, client, extra=session.log_fields)
        if self.capacity > 1 and concurrency_of(type(session.environment)) is False:
            log.warning("%s allows one session at a time", type(session.environment).__name__)
            self.capacity = 1
        return session

    async def close(self, session: Session) -> None:
        """Ends a session; its place is free once its environment is closed."""
        if session.is_abandoned:
            return
        session.closing = asyncio.ensure_future(session.close())
        try:
            await session.closing
        except asyncio.CancelledError:
            if not session.is_abandoned:
                raise
        finally:
            self._let_go(session)

    def _let_go(self, session: Session) -> None:
        if session not in self._open:
            return
        self.active -= 1
        self._open.discard(session)
        steps, resets = session.steps_and_resets()
        self.tally.steps += steps
        self.tally.resets += resets
        log.info("session %s closed for %s", session.id, session.client, extra=session.log_fields)

    def steps_and_resets(self) -> tuple[int, int]:
        """How many there have been in all sessions. Call it on the event loop, as `open` and `close`."""
        counts = [session.steps_and_resets() for session in self._open]
        return (
            self.tally.steps + sum(steps for steps, _ in counts),
            self.tally.resets + sum(resets for _, resets in counts),
        )

    def abandon(self, session: Session) -> None:
        """Ends a session whose thread is in a step that takes too long. Its place is free at once.

        Called on the event loop. `settle` is to be called on that thread, should it return one day.
        """
        session.is_abandoned = True
        if session.step_lock is not None:
            session.step_lock.release(session)
        if session.closing is not None:
            session.closing.cancel()  # it waits for that thread
        self._let_go(session)
        self.abandoned_threads += 1

    def settle(self, session: Session) -> None:
        """Closes an abandoned session, once its thread has come back. Any thread may call it, and again."""

        async def close() -> None:
            if session.is_settled:
                return
            session.is_settled = True
            await session.close()
            self.abandoned_threads -= 1

        closing = close()
        try:
            asyncio.run_coroutine_threadsafe(closing, self._loop)
        except RuntimeError:
            closing.close()  # the server has stopped, and with it all that there is to settle


def concurrency_of(kind: type | None) -> bool | None:
    """What an author's own class says of concurrent sessions; None where it says nothing."""
    said = own_attribute(kind, "SUPPORTS_CONCURRENT_SESSIONS") if kind is not None else None
    return None if said is None else bool(said)


def decide_capacity(factory: Factory, asked_for: int | None) -> int:
    """How many sessions a server has.

    Args:
        factory: Makes an environment.
        asked_for: What the configuration says, if it does.

    Raises:
        ConfigurationError: More are asked for than the environment's class allows.
    """
    kind = class_behind(factory)
    alone = concurrency_of(kind) is False
    if asked_for is None:
        return 1 if alone else DEFAULT_CAPACITY
    if asked_for < 1:
        raise ConfigurationError(f"A server has at least one session, not {asked_for}")
    if alone and asked_for > 1:
        name = getattr(kind, "__name__", "The environment")
        raise ConfigurationError(
            f"{asked_for} concurrent sessions were asked for, but {name} sets "
            "SUPPORTS_CONCURRENT_SESSIONS = False. Ask for 1, or set it to True if two instances in one "
            "process do not disturb each other."
        )
    return asked_for
