"""All sessions of a server, within its capacity."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel

from openenv_gym.backoff import Backoff
from openenv_gym.errors import ConfigurationError
from openenv_server.calls import class_behind, own_attribute
from openenv_server.errors import (
    CapacityReachedError,
    ConcurrencyConfigurationError,
    DeadlinePassedError,
    FactoryFailedError,
    StepLimitExceededError,
    factory_failure,
)
from openenv_server.sessions.counters import Counters
from openenv_server.sessions.first_calls import FirstCalls
from openenv_server.sessions.lifecycle import Client, EndReason, log_event
from openenv_server.sessions.running import begin_task
from openenv_server.sessions.session import CLOSE_TIMEOUT_S, Factory, Session, StepCounts
from openenv_server.sessions.waiting_line import SessionsRequest, WaitingLine
from openenv_server.step_lock import PROCESS_LOCK

DEFAULT_CAPACITY = 64
# How long a server that starts waits for its first environment, in seconds.
TRIAL_S = 10.0

# How long a session that is closed may still be busy with an earlier call, in seconds.
BUSY_TIMEOUT_S = 0.5
# Abandoned threads whose places are given away, for a server with fewer sessions.
_LEAST_ABANDONED = 8
_RELEASE_INTERVAL_S = 1.0
# After so many failures in a row to make an environment, the next one will fail too. Then the server itself
# tries again, after pauses of so many seconds, the first and the longest.
FAILURES_IN_A_ROW = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# The session whose environment is made before there is a client.
_NOBODY = Client("nobody", "http")

log = logging.getLogger("openenv_server")


class Batch(NamedTuple):
    """A session that stands for several, as its environment is a vector environment.

    Attributes:
        factory: Makes the vector environment.
        places: How many sessions it stands for.
    """

    factory: Factory
    places: int


class Sessions:
    """All sessions of a server.

    Args:
        factory: Makes an environment.
        action_model: The model of its actions.
        capacity: The most sessions at a time.
        step_timeout_s: The most seconds that a reset or a step may take; None is unlimited.

    Attributes:
        active: Sessions in use.
        passing: Sessions of a single request, which need no place among the others.
        is_stopping: Whether the server is stopping and opens no more sessions.
        most_abandoned: The places of so many of them are given away; further ones keep theirs.
        failures_in_a_row: Failures to make an environment since the last success.
        worker: The number of this process among those that serve the same address.
        counters: The server's counters.
        line: The clients that wait for free sessions.
        kept: Returns how many sessions wait for a client to reconnect.
        kind: The environment's class; None until that is known.
        made_at: When the server was made, on the monotonic clock.
    """

    def __init__(
        self,
        factory: Factory,
        action_model: type[BaseModel],
        capacity: int,
        step_timeout_s: float | None = None,
    ) -> None:
        self.factory = factory
        self.action_model = action_model
        self.kind = class_behind(factory)
        self.capacity: int = capacity
        self.step_timeout_s = step_timeout_s
        self.active: int = 0
        self.passing: int = 0
        self.failures_in_a_row: int = 0
        self.worker: int = 0
        self.is_stopping = False
        self.counters: Counters = Counters()
        self.line: WaitingLine = WaitingLine()
        self._first_calls = FirstCalls()
        self.kept: Callable[[], int] = lambda: 0
        self.made_at: float = time.monotonic()
        self._open: set[Session] = set()
        self._abandoned: dict[Session, float] = {}  # with the time of giving up
        self._first: Session | None = None
        self._has_tried = False
        self._retrying: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._passing_places = asyncio.Semaphore(capacity)

    @property
    def abandoned_threads(self) -> int:
        """Threads whose environment does not return."""
        return len(self._abandoned)

    @property
    def may_settle(self) -> bool:
        """Whether a session was given up so recently that its environment may still return and be closed."""
        since = time.monotonic() - CLOSE_TIMEOUT_S
        return any(given_up_at > since for given_up_at in self._abandoned.values())

    @property
    def most_abandoned(self) -> int:
        return max(self.capacity, _LEAST_ABANDONED)

    @property
    def factory_fails(self) -> bool:
        """Whether no environment can be made at present."""
        return self.failures_in_a_row >= FAILURES_IN_A_ROW

    @property
    def is_making_first(self) -> bool:
        """Whether the environment of the first session is still being made."""
        return self._first is not None and not self._first.is_made

    def try_factory(self) -> None:
        """Make the environment of the first session, so that a factory that fails does so at the start.

        This blocks for up to `TRIAL_S`; after that, the first session waits for the environment. Only the
        first call has an effect.

        Raises:
            ConfigurationError: The factory raised.
        """
        if self._has_tried:
            return
        self._has_tried = True
        self._first = self._new_session(_NOBODY)
        made = self._first.make()
        try:
            self.kind = type(made.result(TRIAL_S))
        except TimeoutError as error:
            if made.done():
                raise factory_failure(self.factory, error) from error
            log.info("the environment takes more than %g s to be made; the first session waits", TRIAL_S)
        except (Exception, SystemExit) as error:
            if not made.done():
                raise  # a signal has ended this process while it waited
            raise factory_failure(self.factory, error) from error

    def _new_session(self, client: Client, batch: Batch | None = None) -> Session:
        factory, places = (self.factory, 1) if batch is None else batch
        return Session(
            factory,
            self.action_model,
            self.counters,
            client,
            self.step_timeout_s,
            self._first_calls,
            places=places,
        )

    async def close_first(self) -> None:
        """Close the environment that was made for the next session, if none has taken it."""
        if self._retrying is not None:
            self._retrying.cancel()
        session, self._first = self._first, None
        if session is not None:
            with suppress(FactoryFailedError):
                await session.open()
                await session.close()

    async def open(
        self,
        client: Client,
        timeout_s: float | None = None,
        request: SessionsRequest | None = None,
        batch: Batch | None = None,
    ) -> Session:
        """Open a session for a client.

        If this is cancelled or takes too long, the place is free at once, and the environment is closed when
        it is there.

        Args:
            client: Who uses it.
            timeout_s: How long the environment may take to be made, in seconds.
            request: The request that this session belongs to; by default it asks for this one alone. All
                sessions of a request must be opened right after each other.
            batch: Open a batch instead.

        Raises:
            CapacityReachedError: All sessions are taken or waited for, or the server is stopping.
            FactoryFailedError: The environment could not be made.
            DeadlinePassedError: It was not made in time.
        """
        if not self.is_stopping:
            self._admit(request or SessionsRequest(1 if batch is None else batch.places))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._open_session(client, is_passing=False, batch=batch)
        except TimeoutError as error:
            raise DeadlinePassedError(timeout_s or 0.0) from error

    def _admit(self, request: SessionsRequest) -> None:
        """Decide a request when its first session is to be opened.

        Raises:
            CapacityReachedError: It does not get its sessions now.
        """
        if request.position is None:
            request.position = self.line.ask(request, self.capacity - self.active, self.capacity)
        if not request.position.is_admitted:
            raise CapacityReachedError(
                self.active, self.capacity, kept=self.kept(), position=request.position
            )

    @asynccontextmanager
    async def open_for_request(self, client: Client) -> AsyncIterator[Session]:
        """Open a session for a single request, also while all places are taken.

        As many are open at a time as the server has places; further requests wait. A session whose step
        exceeds the timeout is given up.

        Args:
            client: Who uses it.

        Raises:
            CapacityReachedError: The server is stopping.
            FactoryFailedError: The environment could not be made.
        """
        await self._passing_places.acquire()
        session = await self._open_session(client, is_passing=True)
        try:
            yield session
        except StepLimitExceededError as error:
            self.abandon(session, str(error), EndReason.TIMEOUT)
            raise
        finally:
            await asyncio.shield(self._keep(self.close(session, EndReason.REQUEST_DONE)))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that goes on even if nobody waits for it."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _open_session(self, client: Client, *, is_passing: bool, batch: Batch | None = None) -> Session:
        places = 1 if batch is None else batch.places
        self._count(is_passing, places)
        if self.is_stopping:
            self._count(is_passing, -places)
            raise CapacityReachedError(self.active, self.capacity, is_stopping=True)
        self._loop = asyncio.get_running_loop()
        session = None
        if batch is None:
            session, self._first = self._first, None
        if session is None:
            session = self._new_session(client, batch)
        begin_task(session)
        session.client, session.opened_at, session.is_passing = client, time.monotonic(), is_passing
        try:
            await session.open()
        except asyncio.CancelledError:
            self._abandon_opening(session)
            raise
        except BaseException as error:
            self._count(is_passing, -session.places)
            if isinstance(error, FactoryFailedError) and batch is None:
                self._count_failure()  # a batch may fail because of how many environments it should have
            raise
        self.failures_in_a_row = 0
        if batch is None:
            self.kind = type(session.environment)
        self.counters.opened += session.places
        self._open.add(session)
        log_event(session, "opened")
        if self.capacity > 1 and supports_concurrency(type(session.environment)) is False:
            log.warning("%s allows one session at a time", type(session.environment).__name__)
            self.capacity = 1
        return session

    def _count_failure(self) -> None:
        """Count a failure to make an environment; after several, try again in the background."""
        self.failures_in_a_row += 1
        if self.factory_fails and (self._retrying is None or self._retrying.done()):
            self._retrying = asyncio.ensure_future(self._retry_factory())

    async def _retry_factory(self) -> None:
        """Make an environment for the next session, however often that fails."""
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, jitter=False)
        pause_s = backoff.next_s()
        while True:
            await asyncio.sleep(pause_s)
            if self.is_stopping or not self.factory_fails:
                return
            if self.active >= self.capacity:
                continue  # they may be why it fails, and nobody could use another environment
            pause_s = backoff.next_s()
            session = self._first = self._new_session(_NOBODY)
            try:
                await session.open()
            except FactoryFailedError:
                if self._first is session:  # else a client has taken it, and its failure is counted
                    self._first = None
                    self.failures_in_a_row += 1
            else:
                log.warning("environments can be made again, after %d failures", self.failures_in_a_row)
                self.failures_in_a_row = 0
                return

    def _count(self, is_passing: bool, change: int) -> None:
        if not is_passing:
            self.active += change
            return
        self.passing += change
        if change < 0:
            self._passing_places.release()

    async def close(self, session: Session, reason: EndReason, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Close a session. Its place is free once its environment is closed, or has been given up.

        Args:
            session: The session.
            reason: Why it ends.
            timeout_s: How long its environment may take to close, in seconds. An earlier call that is still
                running is waited for only `BUSY_TIMEOUT_S`. A server that stops waits for both.
        """
        if session.is_abandoned:
            return
        session.end_reason = reason
        session.closing = closing = asyncio.ensure_future(session.close())
        try:
            busy_timeout_s = None if self.is_stopping else min(timeout_s, BUSY_TIMEOUT_S)
            await asyncio.wait([closing], timeout=busy_timeout_s)
            if not closing.done() and session.is_closing:
                await asyncio.wait([closing], timeout=timeout_s - BUSY_TIMEOUT_S)
            if not closing.done():
                what = f"did not close within {timeout_s:g} s" if session.is_closing else "was busy"
                self.abandon(session, f"its environment {what} when its session ended", EndReason.ABANDONED)
        finally:
            if not session.is_abandoned:
                self._remove(session)

    def _remove(self, session: Session) -> None:
        if session not in self._open:
            return
        self._count(session.is_passing, -session.places)
        self._open.discard(session)
        counts = session.counts()
        session.counts = lambda: counts  # nothing else keeps the slot and its last results
        self.counters.steps += counts.steps
        self.counters.resets += counts.resets
        reason = session.end_reason
        self.counters.closed[reason] += session.places
        log_event(session, "closed", reason, reason=reason)

    def total_counts(self) -> StepCounts:
        """The steps and resets of all sessions, closed ones included. Call it on the event loop."""
        counts = [session.counts() for session in self._open]
        return StepCounts(
            self.counters.steps + sum(count.steps for count in counts),
            self.counters.resets + sum(count.resets for count in counts),
        )

    def abandon(self, session: Session, why: str, reason: EndReason) -> None:
        """Give up a session whose environment does not return. Safe to call again.

        Its place is free at once, unless `most_abandoned` threads have been abandoned before. If the
        environment returns one day, it is closed. Call it on the event loop.

        Args:
            session: The session.
            why: Why, for the log.
            reason: Why it ends.
        """
        if session.is_abandoned:
            return
        session.is_abandoned, session.end_reason = True, reason
        if session.step_lock is not None:
            session.step_lock.release(session)
        if session.pending is not None:
            session.pending.cancel()
        if session.closing is not None:
            session.closing.cancel()  # it waits for that thread
        if self._count_abandoned(session, why):
            self._remove(session)
        session.submit(partial(self._settle, session))

    def _count_abandoned(self, session: Session, why: str) -> bool:
        """Count an abandoned thread; returns whether its place is given away."""
        self._abandoned[session] = time.monotonic()
        is_free = self.abandoned_threads <= self.most_abandoned
        log.error(
            "session %s is given up: %s. Its thread cannot be stopped (%d such threads), and its place is %s",
            session.id,
            why,
            self.abandoned_threads,
            "free" if is_free else f"kept, because that is more than {self.most_abandoned}",
            extra=session.log_fields,
        )
        return is_free

    def _abandon_opening(self, session: Session) -> None:
        """Give up a session whose environment is still being made; it is closed when it is there."""
        # Taking the lock away lets other sessions make theirs.
        PROCESS_LOCK.release(session.thread)
        is_free = self._count_abandoned(session, "its environment was not made before its client gave up")
        if is_free:
            self._count(session.is_passing, -session.places)

        async def close() -> None:
            opening = asyncio.ensure_future(session.open())
            while not opening.done():
                await asyncio.wait([opening], timeout=_RELEASE_INTERVAL_S)
                PROCESS_LOCK.release(session.thread)
            with suppress(FactoryFailedError):
                await opening
                await session.close()
            del self._abandoned[session]
            if not is_free:
                self._count(session.is_passing, -session.places)

        self._keep(close())

    def _settle(self, session: Session) -> None:
        """Close an abandoned session, on its own thread, once that has returned."""

        async def close() -> None:
            if session.is_settled:
                return
            session.is_settled = True
            await session.close()
            del self._abandoned[session]
            self._remove(session)  # if its place was kept

        closing = close()
        try:
            asyncio.run_coroutine_threadsafe(closing, self._loop)
        except RuntimeError:
            closing.close()  # the server has stopped


def supports_concurrency(kind: type | None) -> bool | None:
    """SUPPORTS_CONCURRENT_SESSIONS of an author's own class; None if it does not set it."""
    value = own_attribute(kind, "SUPPORTS_CONCURRENT_SESSIONS") if kind is not None else None
    return None if value is None else bool(value)


def decide_capacity(factory: Factory, requested: int | None) -> int:
    """The number of sessions that a server offers.

    Args:
        factory: Makes an environment.
        requested: The configured number, if any.

    Raises:
        ConfigurationError: The number is not positive.
        ConcurrencyConfigurationError: More are requested than the environment's class allows.
    """
    kind = class_behind(factory)
    is_single = supports_concurrency(kind) is False
    if requested is None:
        return 1 if is_single else DEFAULT_CAPACITY
    if requested < 1:
        raise ConfigurationError(f"max_concurrent_envs must be at least 1, got {requested}")
    if is_single and requested > 1:
        raise ConcurrencyConfigurationError(getattr(kind, "__name__", "The environment"), requested)
    return requested
