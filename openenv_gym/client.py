"""The typed clients: what an environment's author subclasses so that others call it by its own names."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from openenv_gym.errors import ClosedError, OpenEnvError
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.session import Session
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.types import StepResult
from openenv_gym.wire.v1 import StepAnswer

if TYPE_CHECKING:
    from openenv_gym.providers.launching import Launch
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
        """Starts an episode."""

    async def step(self, action: ActT_contra) -> StepResult[ObsT]:
        """Takes one action."""

    async def state(self) -> StateT_co:
        """Where the session stands."""

    async def close(self) -> None:
        """Ends the session."""


class EnvClient(ABC, Generic[ActT, ObsT, StateT]):
    """A session on an environment server, with the environment's own types.

    A subclass says how an action becomes a payload, and how a payload becomes a result and a state. The
    session is opened when it is first needed. Entered with ``async with``, the same methods are awaitable.

    A copy and a pickle have a session of their own. They use the server of the original, and do not stop it.

    Args:
        base_url: The server's address, ``http://localhost:8000``.
        connect_timeout_s: The time to connect, in seconds.
        message_timeout_s: The time for each answer, in seconds.
        api_key: The key that the server asks for. Left out, it is that of the variable `OPENENV_API_KEY`; ""
            shows none.
        headers: Further headers for each request and each handshake. A pickle has neither key nor
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
        self._session = Session(
            self.endpoint, Timeouts(connect_timeout_s, message_timeout_s, message_timeout_s)
        )
        self._is_closed = False
        self._launch: Launch | None = None
        # Inside `async with`: the thread that does the waiting.
        self._thread: ThreadPoolExecutor | None = None

    # --- what a subclass says -----------------------------------------------------------------------------

    @abstractmethod
    def _step_payload(self, action: ActT) -> dict[str, Any]:
        """The fields of an action, as JSON values."""

    @abstractmethod
    def _parse_result(self, payload: dict[str, Any]) -> StepResult[ObsT]:
        """The result of ``reset`` and ``step``.

        Args:
            payload: ``observation`` (its fields), ``reward``, ``done``, ``truncated`` and ``metadata``.
        """

    @abstractmethod
    def _parse_state(self, payload: dict[str, Any]) -> StateT:
        """The state, from its fields."""

    # --- the session --------------------------------------------------------------------------------------

    def reset(self, **kwargs: Any) -> StepResult[ObsT]:
        """Starts an episode.

        Args:
            **kwargs: ``seed``, and what else the environment's ``reset`` takes.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.reset` does.
        """
        return self._call(lambda: self._parse(self._open_session().reset(_without_none(kwargs))))

    def step(self, action: ActT) -> StepResult[ObsT]:
        """Takes one action.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.step` does.
        """
        return self._call(lambda: self._parse(self._open_session().step(self._step_payload(action))))

    def state(self) -> StateT:
        """Where the session stands."""
        return self._call(lambda: self._parse_state(self._open_session().state()))

    def connect(self: ClientT) -> ClientT:
        """Opens the session now, instead of with the first call."""

        def open_session() -> ClientT:
            self._open_session().open()
            return self

        return self._call(open_session)

    def close(self) -> None:
        """Ends the session, and stops what was started for it. Safe to call again."""
        self._is_closed = True
        self._call(self._end)

    def sync(self: ClientT) -> ClientT:
        """The face whose methods are not awaited, which is the client itself."""
        return self

    def __enter__(self: ClientT) -> ClientT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> AsyncFace[ActT, ObsT, StateT]:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="openenv-client")
        return cast(AsyncFace[ActT, ObsT, StateT], self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        self._is_closed = True
        assert thread is not None
        await asyncio.get_running_loop().run_in_executor(thread, self._end)
        thread.shutdown(wait=False)

    # --- where a server comes from ------------------------------------------------------------------------

    @classmethod
    def from_docker_image(cls: type[ClientT], image: str, **options: Any) -> ClientT:
        """Starts a container of an image, and makes a client of its server; `close` removes the container.

        Args:
            image: The image; it is pulled where it is not here.
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
        from openenv_gym.providers.launching import Launch

        own = {*signature(EnvClient).parameters, *signature(cls).parameters}
        client_options = {name: value for name, value in options.items() if name in own}
        key = key_to_ask_for(client_options.get("api_key"), client_options.get("headers"))
        others = {name: value for name, value in options.items() if name not in own}
        launch = Launch(make_provider(source, **others, api_key=key))
        try:
            if launch.headers:
                client_options["headers"] = {**launch.headers, **(client_options.get("headers") or {})}
            client = cls(base_url=launch.base_url, **client_options)
        except BaseException:
            launch.stop()
            raise
        client._launch = launch
        return client

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session, and what this object alone stops and waits with."""
        return {**self.__dict__, "_launch": None, "_thread": None}

    # --- inside -------------------------------------------------------------------------------------------

    def _call(self, work: Callable[[], T]) -> T:
        """Does it now; inside ``async with``, returns an awaitable of it (see `AsyncFace`)."""
        if self._thread is None:
            return self._explained(work)
        return cast(T, asyncio.get_running_loop().run_in_executor(self._thread, self._explained, work))

    def _explained(self, work: Callable[[], T]) -> T:
        """Does it; what goes wrong says what is known of a server that was started for this client."""
        try:
            return work()
        except OpenEnvError as error:
            if self._launch is not None:
                self._launch.explain(error)
            raise

    def _end(self) -> None:
        try:
            self._session.close()
        finally:
            if self._launch is not None:
                self._launch.stop()

    def _open_session(self) -> Session:
        if self._is_closed:
            raise ClosedError(f"The client of {self.endpoint} was closed; make a new one")
        return self._session

    def _parse(self, answer: StepAnswer) -> StepResult[ObsT]:
        result = self._parse_result(
            {
                "observation": answer.observation,
                "reward": answer.reward,
                "done": answer.terminated or answer.truncated,
                "truncated": answer.truncated,
                "metadata": answer.metadata,
            }
        )
        # Hooks that were written before there was a `truncated` leave these two out.
        if result.truncated is None:
            result.truncated = answer.truncated
        if not result.metadata:
            result.metadata = answer.metadata
        return result


class GenericEnvClient(EnvClient[dict[str, Any], dict[str, Any], dict[str, Any]]):
    """A client of any server, with plain dicts for actions, observations and states."""

    def _step_payload(self, action: dict[str, Any]) -> dict[str, Any]:
        return action

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[dict[str, Any]]:
        return StepResult(
            observation=payload["observation"],
            reward=payload["reward"],
            done=payload["done"],
            metadata=payload["metadata"],
            truncated=payload["truncated"],
        )

    def _parse_state(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


def _without_none(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not None}
