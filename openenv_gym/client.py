"""Typed clients: what an environment's author subclasses, so that others call it by its own names."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import re
from abc import ABC, abstractmethod
from asyncio import _get_running_loop as running_loop  # None instead of an error
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, cast

from openenv_gym.errors import ConfigurationError, OpenEnvError, UsageError
from openenv_gym.pending import PendingCall, is_driven
from openenv_gym.session.channel import Timeouts, positive_seconds
from openenv_gym.session.session import Outcome, Session
from openenv_gym.sync_client import SyncEnvClient
from openenv_gym.transport.blocking import BlockingTransport, CallLock, run
from openenv_gym.transport.connection import MAX_MESSAGE_SIZE
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.types import StepResult

if TYPE_CHECKING:
    from openenv_gym.providers.managed import ManagedServers
    from openenv_gym.providers.provider import Provider

log = logging.getLogger("openenv_gym")

ActT = TypeVar("ActT")
ObsT = TypeVar("ObsT")
StateT = TypeVar("StateT")
ActT_contra = TypeVar("ActT_contra", contravariant=True)
ObsT_co = TypeVar("ObsT_co", covariant=True)
StateT_co = TypeVar("StateT_co", covariant=True)
T = TypeVar("T")
ClientT = TypeVar("ClientT", bound="EnvClient[Any, Any, Any]")

_MEGABYTE = 2**20
_MODES = ("simulation", "production")
_MODE_VARIABLE = "OPENENV_CLIENT_MODE"


class AsyncFace(Protocol[ActT_contra, ObsT, StateT_co]):
    """A client inside ``async with``: the same methods, awaitable."""

    async def connect(self) -> Self:
        """Open the session."""

    async def reset(self, **kwargs: Any) -> StepResult[ObsT]:
        """Begin an episode."""

    async def step(self, action: ActT_contra, *, timeout_s: float | None = None) -> StepResult[ObsT]:
        """Take one action."""

    async def state(self) -> StateT_co:
        """Return the environment's state."""

    async def new_session(self) -> Self:
        """Return a client with another session on the same server."""

    async def disconnect(self) -> None:
        """End the session."""

    async def close(self) -> None:
        """End the session, and stop a server that was started for it."""


class EnvClient(ABC, Generic[ActT, ObsT, StateT]):
    """A session on an environment server, with the environment's own types.

    A subclass says how an action becomes a payload, and how a payload becomes a result and a state. The
    session opens when it is first needed, and is resumed after a broken connection if the server is one of
    ours. After `disconnect` or `close` the next call opens another one. Clients that are awaited on one event
    loop, with the same address, key, headers and maximum size, share a connection to a server of ours.

    The same methods are awaited or not. Where no event loop runs, they return results. Inside ``async with``
    they are coroutines; no thread is used. Elsewhere in a running loop, the first call decides: if its result
    is awaited, so are all that follow; if it is used at once, later calls block and return results. `sync`
    returns a client that always blocks. docs/published-clients.md has each way.

    If several threads or tasks call one client, their calls are carried out one after the other. A copy and a
    pickle open their own session on the original's server, and do not stop that server.

    Args:
        base_url: The server's address, ``http://localhost:8000``.
        connect_timeout_s: The time to connect, in seconds.
        message_timeout_s: The time for each answer, in seconds.
        max_message_size_mb: The maximum size of an answer, in MiB.
        websocket_ping_interval_s: Accepted for the published client's sake, and not used: the server pings,
            and this client answers, also while it is idle.
        websocket_ping_timeout_s: Accepted and not used; ``message_timeout_s`` finds a server that hangs.
        provider: Starts the server when the client connects, if there is no ``base_url``; `close` stops it.
            Any object with ``start``, ``wait_for_ready`` and ``stop``, or with ``start_container``,
            ``wait_for_ready`` and ``stop_container``, or an `openenv_gym.providers.provider.Provider`.
        mode: "simulation" or "production"; makes no difference here. By default, the variable
            `OPENENV_CLIENT_MODE`.
        headers: Further headers for each request and each handshake. A pickle contains neither key nor
            headers.
        api_key: The server's key. By default the value of the variable `OPENENV_API_KEY`; "" sends none.
        ca_file: A PEM file with the certificate authorities to trust instead of the machine's.

    Raises:
        InvalidEndpointError: ``base_url`` is not a URL.
        ConfigurationError: There is neither ``base_url`` nor ``provider``, or an argument cannot work.

    Example:
        >>> with MyEnv(base_url="http://localhost:8000") as client:
        ...     result = client.reset(seed=7)
        ...     result = client.step(MyAction(command="test"))
        >>> async with MyEnv(base_url="http://localhost:8000") as client:
        ...     result = await client.reset(seed=7)
    """

    def __init__(
        self,
        base_url: str | None = None,
        connect_timeout_s: float = 10.0,
        message_timeout_s: float = 60.0,
        max_message_size_mb: float = MAX_MESSAGE_SIZE / _MEGABYTE,
        websocket_ping_interval_s: float | None = 20.0,
        websocket_ping_timeout_s: float | None = 20.0,
        provider: Any = None,
        mode: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
    ) -> None:
        if base_url is None and provider is None:
            raise ConfigurationError(f"{type(self).__name__} needs base_url= or provider=.")
        self._mode = _checked_mode(mode)
        wait_s = positive_seconds(message_timeout_s, "message_timeout_s")
        self._timeouts = Timeouts(positive_seconds(connect_timeout_s, "connect_timeout_s"), wait_s, wait_s)
        if not max_message_size_mb > 0:
            raise ConfigurationError(f"max_message_size_mb must be positive, got {max_message_size_mb!r}.")
        self._max_message_size = int(max_message_size_mb * _MEGABYTE)
        self._parse_url: Callable[..., Endpoint] | None = partial(
            Endpoint.parse, api_key=api_key, headers=headers, ca_file=ca_file
        )
        self._base_url: str | None = None
        self._endpoint: Endpoint | None = None
        self._provider: Provider | None = None
        if provider is not None:
            from openenv_gym.providers.foreign import provider_of

            self._provider = provider_of(provider)
        self._starts_servers = base_url is None
        self._servers: ManagedServers | None = None
        self._children: list[Self] = []
        self._session: Session | None = None
        self._may_step_first = True  # unless it has begun on another loop
        self._is_awaited: bool | None = None  # None until the first call has decided
        self._loop: asyncio.AbstractEventLoop | None = None
        self._async_lock = asyncio.Lock()  # on that loop: one request at a time, as the session is one
        self._thread_lock = CallLock()  # the same without a loop
        if base_url is not None:
            self._set_base_url(base_url)

    @property
    def base_url(self) -> str | None:
        """The server's address as it was given; None while no server is started for this client."""
        return self._base_url

    @property
    def endpoint(self) -> Endpoint:
        """The server.

        Raises:
            UsageError: It is not started yet.
        """
        if self._endpoint is None:
            raise UsageError("This client has no server yet.", advice="Call connect first.")
        return self._endpoint

    # --- what a subclass implements -------------------------------------------------------------------------

    @abstractmethod
    def _step_payload(self, action: ActT) -> dict[str, Any]:
        """Return the fields of an action, as JSON values."""

    @abstractmethod
    def _parse_result(self, payload: dict[str, Any]) -> StepResult[ObsT]:
        """Return the result of ``reset`` and ``step``.

        Args:
            payload: ``observation`` (its fields with ``metadata``; arrays are NumPy arrays over version 2),
                ``reward``, ``done``, ``truncated``, and ``metadata`` once more.
        """

    @abstractmethod
    def _parse_state(self, payload: dict[str, Any]) -> StateT:
        """Return the state, from its fields."""

    # --- the session ----------------------------------------------------------------------------------------

    def reset(self, **kwargs: Any) -> StepResult[ObsT]:
        """Begin an episode.

        Args:
            **kwargs: ``seed``, and further keywords of the environment's own ``reset``. None is sent too.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.reset`.
        """
        return self._call(self._reset_async, **kwargs)

    def step(self, action: ActT, *, timeout_s: float | None = None, **kwargs: Any) -> StepResult[ObsT]:
        """Take one action. If it comes before the first reset, the environment decides what it means.

        Args:
            action: The action.
            timeout_s: The time for this answer, in seconds; ``message_timeout_s`` by default.
            **kwargs: Ignored, and logged: a step carries only its action.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.step`.
        """
        return self._call(self._step_async, action, timeout_s=timeout_s, **kwargs)

    def state(self) -> StateT:
        """Return the environment's state."""
        return self._call(self._state_async)

    def connect(self: ClientT) -> ClientT:
        """Open the session now, instead of with the first call; start the server, if a provider does that.

        Raises:
            ConnectionError: There is no connection, or the server has no free session; an `OpenEnvError` too.
        """
        return self._call(self._connect_async)

    def new_session(self: ClientT) -> ClientT:
        """Return a connected client with another session on the same server. `close` closes it too."""
        return self._call(self._new_session_async)

    def disconnect(self) -> None:
        """End the session, and let the server run. The next call opens another session."""
        return self._call(self._disconnect_async)

    def close(self) -> None:
        """End the session and those of `new_session`, and stop a server that was started for this client.

        Safe to call again. A further call opens another session, if the server still runs or a provider
        starts it.
        """
        return self._call(self._close_async)

    def sync(self) -> SyncEnvClient[ActT, ObsT, StateT]:
        """Return this client with methods that are not awaited, even where an event loop runs."""
        return SyncEnvClient(self)

    def __enter__(self: ClientT) -> ClientT:
        self._now(self._connect_async)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._now(self._close_async)

    async def __aenter__(self) -> AsyncFace[ActT, ObsT, StateT]:
        self._belong_to(asyncio.get_running_loop())
        face = cast(AsyncFace[ActT, ObsT, StateT], self)
        await face.connect()
        return face

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cast(AsyncFace[ActT, ObsT, StateT], self).close()

    # --- where a server comes from --------------------------------------------------------------------------

    @classmethod
    def from_docker_image(
        cls: type[ClientT], image: str, provider: Any = None, **options: Any
    ) -> StartingClient[ClientT]:
        """Start a container of an image, and make a client of its server; `close` removes the container.

        Args:
            image: The image; it is pulled if it is not on this machine.
            provider: Starts the container instead of Docker: an object with ``start_container``,
                ``wait_for_ready`` and ``stop_container``. It gets the options that are not the client's.
            **options: Those of `openenv_gym.providers.docker.DockerProvider` (``env_vars``, ``port``,
                ``memory``, ``cpus``, ``network``, ``volumes``, ``ready_timeout_s``) and of the client.

        Returns:
            `StartingClient`: the container starts when this is awaited, entered, or used.

        Raises:
            MissingExtraError: Without the docker extra.
            ConfigurationError: No engine answers, or the container ends; the error has its last log lines.
            DeadlineExceededError: It did not get healthy in time; so has that message.

        Example:
            >>> with MyEnv.from_docker_image("openenv-my-env:latest", memory="1g") as client:
            ...     result = client.reset()
            >>> client = await MyEnv.from_docker_image("openenv-my-env:latest")
            >>> client = MyEnv.from_docker_image("openenv-my-env:latest").sync()
        """

        def make(api_key: str | None, **others: Any) -> Provider:
            if provider is not None:
                from openenv_gym.providers.foreign import provider_of

                return provider_of(provider, image, **others)
            from openenv_gym.providers.docker import DockerProvider

            return DockerProvider(image, api_key=api_key, **others)

        return StartingClient(f"{cls.__name__}.from_docker_image()", partial(cls._started, make, options))

    @classmethod
    def from_hub(cls: type[ClientT], repo_id: str, **options: Any) -> StartingClient[ClientT]:
        """Make a client of a Space of the Hugging Face Hub; `close` stops what was started here for it.

        Args:
            repo_id: The Space, ``my-org/my-env``.
            **options: Those of `openenv_gym.providers.hub.HubProvider` (``mode``, ``token``,
                ``trust_remote_code``, …) and of the client.

        Returns:
            `StartingClient`, as `from_docker_image`.

        Raises:
            MissingExtraError: Without the hub extra.
            HubError: The Hub does not show the Space, or it does not run.
            ConfigurationError: What is started here for it cannot be.
            DeadlineExceededError: It was not ready in time.

        Example:
            >>> with MyEnv.from_hub("my-org/my-env") as client:
            ...     result = client.reset()
        """

        def make(**others: Any) -> Provider:
            from openenv_gym.providers.hub import HubProvider

            return HubProvider(repo_id, **others)

        return StartingClient(f"{cls.__name__}.from_hub()", partial(cls._started, make, options))

    @classmethod
    def from_env(
        cls: type[ClientT], repo_id: str, *, use_docker: bool = True, provider: Any = None, **options: Any
    ) -> StartingClient[ClientT]:
        """Start a Space's server on this machine, as the published client does, and make a client of it.

        `from_hub` has more ways, such as the server that runs on the Hub.

        Args:
            repo_id: The Space, ``my-org/my-env``.
            use_docker: Run the Space's image; if False, its files, which runs the Space's code as you and
                needs ``trust_remote_code=True`` or the variable ``OPENENV_TRUST_REMOTE_CODE=1``.
            provider: Starts the server instead: as in `from_docker_image`, or without ``use_docker``, an
                object with ``start``, ``wait_for_ready`` and ``stop``.
            **options: ``tag`` of the image, ``project_path`` of a folder to run instead of the Space's files,
                and the options of `from_docker_image`, or of
                `openenv_gym.providers.process.ProcessProvider`.

        Returns:
            `StartingClient`, as `from_docker_image`.

        Raises:
            OpenEnvError: As `from_docker_image` and `from_hub`.
        """
        if use_docker:
            subdomain, tag = re.sub("[^a-z0-9]", "-", repo_id.lower()), options.pop("tag", "latest")
            return cls.from_docker_image(f"registry.hf.space/{subdomain}:{tag}", provider, **options)

        def make(api_key: str | None, **others: Any) -> Provider:
            if provider is not None:
                from openenv_gym.providers.foreign import provider_of

                return provider_of(provider, **others)
            folder = others.pop("project_path", None)
            if folder is not None and not str(folder).startswith("git+"):
                from openenv_gym.providers.process import ProcessProvider

                return ProcessProvider(folder, api_key=api_key, **others)
            from openenv_gym.providers.hub import HubProvider
            from openenv_gym.providers.hub_spaces import trusts_remote_code

            given = {"trust_remote_code": trusts_remote_code(), **others}
            space = repo_id if folder is None else str(folder).removeprefix("git+")
            return HubProvider(space, mode="local", api_key=api_key, **given)

        return StartingClient(f"{cls.__name__}.from_env()", partial(cls._started, make, options))

    @classmethod
    def _started(cls: type[ClientT], make: Callable[..., Provider], options: dict[str, Any]) -> ClientT:
        """A client, and the servers for it, which `close` stops.

        Args:
            make: Makes the provider, from the options that are not the client's and ``api_key``.
            options: All options.
        """
        from openenv_gym.providers.managed import ManagedServers

        own = {*signature(EnvClient).parameters, *signature(cls).parameters}
        own -= {"base_url", "provider", "mode"}
        client_options = {name: value for name, value in options.items() if name in own}
        key = key_to_ask_for(client_options.get("api_key"), client_options.get("headers"))
        others = {name: value for name, value in options.items() if name not in own}
        try:
            provider = make(**others, api_key=key)
        except TypeError as error:
            raise ConfigurationError(f"The server cannot be started like this: {error}.") from error
        servers = ManagedServers(provider)
        try:
            if servers.headers:
                client_options["headers"] = {**servers.headers, **(client_options.get("headers") or {})}
            client = cls(base_url=servers.base_url, **client_options)
        except BaseException:
            servers.stop()
            raise
        client._use_servers(servers)
        return client

    def _start_servers(self) -> None:
        """Let the provider start the servers, if there are none."""
        if self._endpoint is not None:
            return
        if self._provider is None or self._parse_url is None:
            raise UsageError(
                "The server of this client is not started.", advice="Connect the original first."
            )
        from openenv_gym.providers.managed import ManagedServers

        servers = ManagedServers(self._provider)
        self._set_base_url(servers.base_url)
        self._use_servers(servers)

    def _use_servers(self, servers: ManagedServers) -> None:
        self._servers = servers
        self._endpoint = replace(self.endpoint, is_direct=servers.is_direct)

    def _stop_servers(self) -> None:
        """Stop the servers that run for this client; one that a provider started elsewhere, once."""
        if self._servers is not None:
            self._servers.stop()
            if self._starts_servers:
                self._servers = self._endpoint = self._base_url = None
        elif self._provider is not None and not self._starts_servers:
            self._provider.stop()
            self._provider = None

    def _set_base_url(self, base_url: str) -> None:
        assert self._parse_url is not None
        self._endpoint = self._parse_url(base_url)
        self._base_url = base_url.strip().rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the sessions, the servers that this object alone stops, and the secrets."""
        return {
            **self.__dict__,
            "_parse_url": None,
            "_provider": None,
            "_servers": None,
            "_children": [],
            "_session": None,
            "_may_step_first": True,
            "_is_awaited": None,
            "_loop": None,
            "_async_lock": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._children, self._async_lock = [], asyncio.Lock()

    # --- inside ---------------------------------------------------------------------------------------------

    def _call(self, method: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T:
        """Carry out a call now, or return a coroutine, or what can be either."""
        if running_loop() is None:
            return self._now(method, *args, **kwargs)
        if is_driven.get():
            return cast(T, _later(self._now, method, *args, **kwargs))
        if self._is_awaited is None:
            name = f"{type(self).__name__}.{method.__name__.strip('_').removesuffix('_async')}()"
            call = (method, *args)
            return cast(
                T,
                PendingCall(
                    name, partial(self._on_loop, *call, **kwargs), partial(self._now, *call, **kwargs)
                ),
            )
        if self._is_awaited:
            return cast(T, self._on_loop(method, *args, **kwargs))
        return self._now(method, *args, **kwargs)

    def _now(self, method: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T:
        with self._thread_lock.lock:
            self._belong_to(None)
            return run(method(*args, **kwargs))

    async def _on_loop(
        self, method: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any
    ) -> T:
        self._belong_to(asyncio.get_running_loop())
        async with self._async_lock:
            return await method(*args, **kwargs)

    def _belong_to(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Use this client on an event loop, or with None, blocking. A session of another kind ends."""
        if self._loop is loop and self._is_awaited is not None:
            return
        if loop is None and self._loop is not None and self._loop is running_loop():
            raise UsageError(
                "This client is awaited, and cannot be used without await on the same event loop.",
                advice="Make a second client.",
            )
        session, self._session = self._session, None
        if session is not None:
            self._may_step_first = session.may_step_first
        if session is not None and self._loop is None:
            run(session.close())
        # A session of another loop hangs up when it is collected.
        self._is_awaited, self._loop, self._async_lock = loop is not None, loop, asyncio.Lock()

    async def _usable(self) -> Session:
        """The session, which may not be open."""
        if self._session is None:
            from openenv_gym.session.shared import shared_connections
            from openenv_gym.transport.asynchronous import AsyncTransport

            transport = (AsyncTransport if self._is_awaited else BlockingTransport)(self._max_message_size)
            if self._endpoint is None:
                await transport.run_blocking(EnvClient._start_servers, self)
            explain = None if self._servers is None else self._servers.explain
            size = self._max_message_size
            self._session = Session(
                self.endpoint,
                transport,
                PayloadCoding(),
                self._timeouts,
                steps_first=self._may_step_first,
                explain=explain,
                shared=partial(shared_connections, self.endpoint, size) if self._is_awaited else None,
            )
        return self._session

    async def _reset_async(self, **kwargs: Any) -> StepResult[ObsT]:
        return self._parse(await (await self._usable()).reset(kwargs))

    async def _step_async(
        self, action: ActT, *, timeout_s: float | None = None, **kwargs: Any
    ) -> StepResult[ObsT]:
        if kwargs:
            log.warning("step does not send %s: a step carries only its action", ", ".join(kwargs))
        session = await self._usable()
        return self._parse(await session.step(self._step_payload(action), timeout_s=timeout_s))

    async def _state_async(self) -> StateT:
        return self._parse_state(await (await self._usable()).state())

    async def _connect_async(self: ClientT) -> ClientT:
        try:
            await (await self._usable()).open()
        except BaseException:
            await self._close_async()  # nobody else stops a server that was started for it
            raise
        return self

    async def _new_session_async(self: ClientT) -> ClientT:
        await self._usable()  # the server runs
        child = copy.copy(self)
        child._belong_to(self._loop)
        await child._connect_async()
        self._children.append(child)
        return child

    async def _disconnect_async(self) -> None:
        session, self._session = self._session, None
        self._may_step_first = True
        if session is not None:
            await session.close()

    async def _close_async(self) -> None:
        try:
            while self._children:
                child = self._children.pop()
                if child._loop is self._loop:
                    with suppress(OpenEnvError):
                        await child._close_async()
            await self._disconnect_async()
        finally:
            if self._is_awaited and (self._servers or self._provider):
                await asyncio.to_thread(self._stop_servers)
            else:
                self._stop_servers()

    def _parse(self, outcome: Outcome) -> StepResult[ObsT]:
        result = self._parse_result(
            {
                "observation": {**outcome.observation, "metadata": outcome.info},
                "reward": outcome.reward,
                "done": outcome.terminated or outcome.truncated,
                "truncated": outcome.truncated,
                "metadata": outcome.info,
            }
        )
        # Hooks written for the published client leave these two out.
        if isinstance(result, StepResult):
            if result.truncated is None:
                result.truncated = outcome.truncated
            if not result.metadata:
                result.metadata = outcome.info
        return result


async def _later(call: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    return call(*args, **kwargs)


def _checked_mode(mode: str | None) -> str:
    given = os.environ.get(_MODE_VARIABLE, _MODES[0]) if mode is None else mode
    if given.lower() not in _MODES:
        where = "mode=" if mode is not None else _MODE_VARIABLE
        raise ConfigurationError(f"{where} must be one of {', '.join(_MODES)}, got {given!r}.")
    return given.lower()


class StartingClient(PendingCall[ClientT]):
    """A client whose server starts when this is awaited, entered with ``with``, or used as the client.

    Args:
        name: The call, for messages.
        start: Starts the server and makes the client, blocking.
    """

    def __init__(self, name: str, start: Callable[[], ClientT]) -> None:
        super().__init__(name, self._start_on_loop, start)

    def sync(self) -> SyncEnvClient[Any, Any, Any]:
        """Start the server, connect, and return the client whose methods are not awaited."""
        return self._result().sync().connect()

    async def _start_on_loop(self) -> ClientT:
        starting = asyncio.ensure_future(asyncio.to_thread(self._result))
        try:
            client = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_stop_unused)
            raise
        await client._on_loop(client._connect_async)
        return client


def _stop_unused(starting: asyncio.Future[Any]) -> None:
    """Stop the server of a client that nobody waits for any more."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result()._stop_servers()


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
