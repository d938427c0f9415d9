"""Typed clients: what an environment's author subclasses, so that others call it by its own names."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

import numpy as np

from openenv_gym.errors import ClosedError
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.session import Outcome, Session
from openenv_gym.transport.blocking import BlockingTransport, Turn, run
from openenv_gym.transport.connection import Transport
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.types import StepResult

if TYPE_CHECKING:
    from openenv_gym.providers.managed import ManagedServers
    from openenv_gym.providers.provider import Provider

ActT = TypeVar("ActT")
ObsT = TypeVar("ObsT")
StateT = TypeVar("StateT")
ActT_contra = TypeVar("ActT_contra", contravariant=True)
ObsT_co = TypeVar("ObsT_co", covariant=True)
StateT_co = TypeVar("StateT_co", covariant=True)
T = TypeVar("T")
ClientT = TypeVar("ClientT", bound="EnvClient[Any, Any, Any]")


class AsyncFace(Protocol[ActT_contra, ObsT, StateT_co]):
    """A client inside ``async with``: the same methods, awaitable."""

    async def reset(self, **kwargs: Any) -> StepResult[ObsT]:
        """Begin an episode."""

    async def step(self, action: ActT_contra) -> StepResult[ObsT]:
        """Take one action."""

    async def state(self) -> StateT_co:
        """Return the environment's state."""

    async def close(self) -> None:
        """End the session."""


class EnvClient(ABC, Generic[ActT, ObsT, StateT]):
    """A session on an environment server, with the environment's own types.

    A subclass says how an action becomes a payload, and how a payload becomes a result and a state. The
    session opens when it is first needed, and is resumed after a broken connection if the server is one of
    ours. Entered with ``async with``, the same methods are awaitable; no thread is used. If several threads
    or tasks call one client, their calls are carried out one after the other.

    A copy and a pickle open their own session on the original's server, and do not stop that server.

    Args:
        base_url: The server's address, ``http://localhost:8000``.
        connect_timeout_s: The time to connect, in seconds.
        message_timeout_s: The time for each answer, in seconds.
        api_key: The server's key. By default the value of the variable `OPENENV_API_KEY`; "" sends none.
        headers: Further headers for each request and each handshake. A pickle contains neither key nor
            headers.
        ca_file: A PEM file with the certificate authorities to trust instead of the machine's.

    Raises:
        InvalidEndpointError: ``base_url`` is not a URL.

    Example:
        >>> with MyEnv(base_url="http://localhost:8000") as client:
        ...     result = client.reset(seed=7)
        ...     result = client.step(MyAction(command="test"))
        >>> async with MyEnv(base_url="http://localhost:8000") as client:
        ...     result = await client.reset(seed=7)
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float = 10.0,
        message_timeout_s: float = 60.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
    ) -> None:
        self.endpoint = Endpoint.parse(base_url, api_key=api_key, headers=headers, ca_file=ca_file)
        self._timeouts = Timeouts(connect_timeout_s, message_timeout_s, message_timeout_s)
        self._servers: ManagedServers | None = None
        self._session = self._new_session(BlockingTransport())
        self._is_closed = False
        # Inside `async with`: one request at a time, as the session is one.
        self._turn: asyncio.Lock | None = None
        self._thread_turn = Turn()  # the same outside

    # --- what a subclass implements -------------------------------------------------------------------------

    @abstractmethod
    def _step_payload(self, action: ActT) -> dict[str, Any]:
        """Return the fields of an action, as JSON values."""

    @abstractmethod
    def _parse_result(self, payload: dict[str, Any]) -> StepResult[ObsT]:
        """Return the result of ``reset`` and ``step``.

        Args:
            payload: ``observation`` (its fields; arrays are NumPy arrays over version 2), ``reward``,
                ``done``, ``truncated`` and ``metadata``.
        """

    @abstractmethod
    def _parse_state(self, payload: dict[str, Any]) -> StateT:
        """Return the state, from its fields."""

    # --- the session ----------------------------------------------------------------------------------------

    def reset(self, **kwargs: Any) -> StepResult[ObsT]:
        """Begin an episode.

        Args:
            **kwargs: ``seed``, and further keywords of the environment's own ``reset``.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.reset`.
        """
        return self._call(self._reset(kwargs))

    def step(self, action: ActT) -> StepResult[ObsT]:
        """Take one action. If it comes before the first reset, the environment decides what it means.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.step`.
        """
        return self._call(self._step(action))

    def state(self) -> StateT:
        """Return the environment's state."""
        return self._call(self._state())

    def connect(self: ClientT) -> ClientT:
        """Open the session now, instead of with the first call."""
        return self._call(self._connect())

    def close(self) -> None:
        """End the session, and stop a server that was started for it. Safe to call again."""
        self._is_closed = True
        return self._call(self._close())

    def sync(self: ClientT) -> ClientT:
        """Return the client whose methods are not awaited, which is the client itself."""
        return self

    def __enter__(self: ClientT) -> ClientT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> AsyncFace[ActT, ObsT, StateT]:
        from openenv_gym.transport.asynchronous import AsyncTransport

        run(self._session.close())
        self._session = self._new_session(AsyncTransport())
        self._turn = asyncio.Lock()
        return cast(AsyncFace[ActT, ObsT, StateT], self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        await self._close()
        self._turn = None

    # --- where a server comes from --------------------------------------------------------------------------

    @classmethod
    def from_docker_image(cls: type[ClientT], image: str, **options: Any) -> ClientT:
        """Starts a container of an image, and makes a client of its server; `close` removes the container.

        Args:
            image: The image; it is pulled if it is not on this machine.
            **options: Those of `openenv_gym.providers.docker.DockerProvider` (``env_vars``, ``port``,
                ``memory``, ``cpus``, ``network``, ``volumes``, ``ready_timeout_s``) and of the client.

        Raises:
            MissingExtraError: Without the docker extra.
            ConfigurationError: No engine answers, or the container ends; the message has its last words.
            DeadlineExceededError: It did not get healthy in time; so has that message.

        Example:
            >>> with MyEnv.from_docker_image("openenv-my-env:latest", memory="1g") as client:
            ...     result = client.reset()
        """
        from openenv_gym.providers.docker import DockerProvider

        return cls._started(DockerProvider, image, options)

    @classmethod
    def from_hub(cls: type[ClientT], repo_id: str, **options: Any) -> ClientT:
        """Makes a client of a Space of the Hugging Face Hub; `close` stops what was started here for it.

        Args:
            repo_id: The Space, ``my-org/my-env``.
            **options: Those of `openenv_gym.providers.hub.HubProvider` (``mode``, ``token``,
                ``trust_remote_code``, …) and of the client.

        Raises:
            MissingExtraError: Without the hub extra.
            HubError: The Hub does not show the Space, or it does not run.
            ConfigurationError: What is started here for it cannot be.
            DeadlineExceededError: It was not ready in time.

        Example:
            >>> with MyEnv.from_hub("my-org/my-env") as client:
            ...     result = client.reset()
        """
        from openenv_gym.providers.hub import HubProvider

        return cls._started(HubProvider, repo_id, options)

    @classmethod
    def _started(
        cls: type[ClientT], make_provider: Callable[..., Provider], source: str, options: dict[str, Any]
    ) -> ClientT:
        """A client, and the servers for it, which `close` stops."""
        from openenv_gym.providers.managed import ManagedServers

        own = {*signature(EnvClient).parameters, *signature(cls).parameters}
        client_options = {name: value for name, value in options.items() if name in own}
        key = key_to_ask_for(client_options.get("api_key"), client_options.get("headers"))
        others = {name: value for name, value in options.items() if name not in own}
        servers = ManagedServers(make_provider(source, **others, api_key=key))
        try:
            if servers.headers:
                client_options["headers"] = {**servers.headers, **(client_options.get("headers") or {})}
            client = cls(base_url=servers.base_url, **client_options)
        except BaseException:
            servers.stop()
            raise
        client._servers = servers
        client.endpoint = replace(client.endpoint, is_direct=servers.is_direct)
        client._session = client._new_session(BlockingTransport())
        return client

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session, and the server that this object alone stops."""
        return {
            **self.__dict__,
            "_servers": None,
            "_turn": None,
            "_session": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = self._new_session(BlockingTransport())

    # --- inside ---------------------------------------------------------------------------------------------

    def _new_session(self, transport: Transport) -> Session:
        explain = None if self._servers is None else self._servers.explain
        return Session(
            self.endpoint, transport, PayloadCoding(), self._timeouts, steps_first=True, explain=explain
        )

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it now; inside ``async with``, return an awaitable of it (see `AsyncFace`)."""
        if self._turn is not None:
            return cast(T, self._in_turn(self._turn, work))
        with self._thread_turn.lock:
            return run(work)

    async def _in_turn(self, turn: asyncio.Lock, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with turn:
                return await work
        finally:
            work.close()  # it may have been cancelled before its turn

    async def _reset(self, kwargs: dict[str, Any]) -> StepResult[ObsT]:
        data = {name: value for name, value in kwargs.items() if value is not None}
        return self._parse(await self._usable().reset(data))

    async def _step(self, action: ActT) -> StepResult[ObsT]:
        return self._parse(await self._usable().step(self._step_payload(action)))

    async def _state(self) -> StateT:
        return self._parse_state(await self._usable().state())

    async def _connect(self: ClientT) -> ClientT:
        await self._usable().open()
        return self

    async def _close(self) -> None:
        try:
            await self._session.close()
        finally:
            if self._servers is not None:
                self._servers.stop()

    def _usable(self) -> Session:
        if self._is_closed:
            raise ClosedError(f"The client of {self.endpoint} was closed; make a new one")
        return self._session

    def _parse(self, outcome: Outcome) -> StepResult[ObsT]:
        result = self._parse_result(
            {
                "observation": outcome.observation,
                "reward": outcome.reward,
                "done": outcome.terminated or outcome.truncated,
                "truncated": outcome.truncated,
                "metadata": outcome.info,
            }
        )
        # Hooks written for the published client leave these two out.
        if result.truncated is None:
            result.truncated = outcome.truncated
        if not result.metadata:
            result.metadata = outcome.info
        return result


def _plain(value: Any) -> Any:
    """Return a payload with lists and Python's numbers instead of arrays and NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


class PayloadCoding:
    """Actions and observations as JSON payloads."""

    payloads = True

    def payload(self, action: Any) -> dict[str, Any]:
        """Return the action, which is a payload."""
        return cast(dict[str, Any], action)

    def column(self, action: Any) -> Any:
        """Return the action as a column of one."""
        return [action]

    def element(self, observations: Any) -> Any:
        """Return the payload in a column of one."""
        return observations[0]


class GenericEnvClient(EnvClient[dict[str, Any], dict[str, Any], dict[str, Any]]):
    """A client of any server, with plain dicts for actions, observations and states: arrays are lists."""

    def _step_payload(self, action: dict[str, Any]) -> dict[str, Any]:
        return action

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[dict[str, Any]]:
        return StepResult(
            observation=_plain(payload["observation"]),
            reward=payload["reward"],
            done=payload["done"],
            metadata=_plain(payload["metadata"]),
            truncated=payload["truncated"],
        )

    def _parse_state(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


class GenericAction(dict[str, Any]):
    """An action of plain values, for `GenericEnvClient`: ``GenericAction(amount=5)``."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)

    def __repr__(self) -> str:
        return f"GenericAction({', '.join(f'{name}={value!r}' for name, value in self.items())})"


class SyncEnvClient(Generic[ActT, ObsT, StateT]):
    """A client whose methods are not awaited. It has all methods of the client.

    Args:
        async_client: The client.
    """

    def __init__(self, async_client: EnvClient[ActT, ObsT, StateT]) -> None:
        self._client = async_client.sync()
        self.async_client = async_client

    def __enter__(self) -> Self:
        self._client.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def __getattr__(self, name: str) -> Any:
        if name == "_client":  # it is being copied
            raise AttributeError(name)
        return getattr(self._client, name)
