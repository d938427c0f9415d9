"""Sessions: one environment each, on a thread of its own, within the server's capacity."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from openenv_gym.errors import ConfigurationError
from openenv_server.calls import Calls, class_behind, own_attribute
from openenv_server.incidents import report
from openenv_server.serialization import observation_json, state_json
from openenv_server.worker import WorkerThread

DEFAULT_CAPACITY = 64

Factory = Callable[[], Any]
T = TypeVar("T")
log = logging.getLogger("openenv_server")


class CapacityReachedError(Exception):
    """All sessions are taken."""

    def __init__(self, active: int, capacity: int) -> None:
        self.active = active
        self.capacity = capacity
        super().__init__(
            f"The server is at its capacity of {capacity} session{'s' if capacity != 1 else ''}. Close one, "
            "or let the server have more (MAX_CONCURRENT_ENVS, or `openenv serve --max-sessions`)"
        )


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

    Attributes:
        calls: How the environment is called, once `open` has made it.
        submit: Runs something on the thread that tells of its outcome itself.
        is_abandoned: Whether its thread is in a step that takes too long, and nobody waits for it any more.

    Args:
        factory: Makes the environment.
        step_timeout_s: The most seconds that `reset` and `step` may take; None for ever.
    """

    def __init__(self, factory: Factory, step_timeout_s: float | None = None) -> None:
        self._factory = factory
        self._step_timeout_s = step_timeout_s
        self.is_abandoned = False
        self._thread = WorkerThread()
        self._environment: Any = None
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
            error_id = report(error, f"the environment factory {name} failed")
            raise FactoryFailedError(name, error, error_id) from error
        self.calls = Calls(type(self._environment))

    async def reset(self, data: dict[str, Any]) -> str:
        """Starts an episode; returns the result as JSON text.

        Raises:
            StepTimeoutError: It took too long. The session is of no use any more.
        """
        arguments, seed_ignored = self.calls.reset_arguments(data)
        method = getattr(self._environment, self.calls.reset_name)
        extra = {"seed_ignored": True} if seed_ignored else None
        if self.calls.reset_is_async:
            return observation_json(await self._in_time(method(**arguments)), extra)
        return await self._in_time(self.run(lambda: observation_json(method(**arguments), extra)))

    async def step(self, action: Any, extras: dict[str, Any] | None = None) -> str:
        """Takes one action; returns the result as JSON text. Raises what `reset` does."""
        arguments = self.calls.step_arguments(extras) if extras else {}
        method = getattr(self._environment, self.calls.step_name)
        if self.calls.step_is_async:
            return observation_json(await self._in_time(method(action, **arguments)))
        return await self._in_time(self.run(lambda: observation_json(method(action, **arguments))))

    async def state(self) -> str:
        """Where the session stands, as JSON text."""

        def read() -> str:
            state = self._environment.state
            return state_json(state() if callable(state) else state)

        return await self.run(read)

    async def run(self, work: Callable[[], T]) -> T:
        """Runs something on the session's thread."""
        return await self._thread.run(work)

    async def _in_time(self, work: Awaitable[T]) -> T:
        limit_s = self._step_timeout_s
        if limit_s is None:
            return await work
        try:
            async with asyncio.timeout(limit_s) as limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise  # the environment's own
            raise StepTimeoutError(limit_s) from error

    async def close(self) -> None:
        """Closes the environment, and lets the thread go."""
        close = getattr(self._environment, "close", None)
        try:
            if close is not None:
                await (close() if self.calls.close_is_async else self.run(close))
        except Exception:
            log.exception("closing %s failed", type(self._environment).__name__)
        finally:
            self._thread.stop()


class Sessions:
    """All sessions of a server.

    Args:
        factory: Makes an environment.
        capacity: How many there may be at a time.
        step_timeout_s: The most seconds that a reset or a step may take; None for ever.

    Attributes:
        active: The sessions that there are.
        abandoned_threads: The threads that are in a step which took too long, and nobody waits for.
    """

    def __init__(self, factory: Factory, capacity: int, step_timeout_s: float | None = None) -> None:
        self.factory = factory
        self.capacity = capacity
        self.step_timeout_s = step_timeout_s
        self.active = 0
        self.abandoned_threads = 0
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> Session:
        """A new session.

        Raises:
            CapacityReachedError: There is no room for one.
            FactoryFailedError: The environment could not be made.
        """
        if self.active >= self.capacity:
            raise CapacityReachedError(self.active, self.capacity)
        self.active += 1
        self._loop = asyncio.get_running_loop()
        try:
            session = Session(self.factory, self.step_timeout_s)
            await session.open()
        except BaseException:
            self.active -= 1
            raise
        if self.capacity > 1 and concurrency_of(type(session.environment)) is False:
            log.warning("%s allows one session at a time", type(session.environment).__name__)
            self.capacity = 1
        return session

    async def close(self, session: Session) -> None:
        """Ends a session; its place is free once its environment is closed."""
        if session.is_abandoned:
            return
        try:
            await session.close()
        finally:
            self.active -= 1

    def abandon(self, session: Session) -> None:
        """Ends a session whose thread is in a step that takes too long. Its place is free at once.

        Called on the event loop. `settle` is to be called on that thread, should it return one day.
        """
        session.is_abandoned = True
        self.active -= 1
        self.abandoned_threads += 1

    def settle(self, session: Session) -> None:
        """Closes an abandoned session, called by the thread that has come back."""

        async def close() -> None:
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
