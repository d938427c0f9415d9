"""`RemoteEnv`: an environment on any OpenEnv server, as a ``gymnasium.Env``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium import logger, spaces
from gymnasium.envs.registration import EnvSpec

from openenv_gym.env_spaces import EnvSpaces, OnMisfit, read_env_spaces
from openenv_gym.errors import (
    ActionOutsideSpaceError,
    ClosedError,
    OpenEnvError,
    ResetNeededError,
    SpaceError,
    excerpt,
)
from openenv_gym.metrics import METRICS_BUFFER, PARTS, SlotMetrics, parts_us
from openenv_gym.rendering import RENDER_FPS, RENDER_MODES, warn_without_mode
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.recovery import (
    LOSSES,
    OnSessionLost,
    advise_truncation,
    check_on_session_lost,
    retry,
)
from openenv_gym.session.session import Session, Times, reset_options
from openenv_gym.spaces.columns import Column, column_of
from openenv_gym.spaces.models import Override
from openenv_gym.transport.blocking import BlockingTransport, CallLock, locked, run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_schemas

if TYPE_CHECKING:
    from openenv_gym.providers.managed import ManagedServers, ProviderChoice
    from openenv_gym.spaces.compiler import SchemaFinding
    from openenv_gym.spaces.tools import Tool

log = logging.getLogger("openenv_gym")


class RemoteEnv(gym.Env[Any, Any]):
    """One session of an environment server.

    The spaces come from the server's schemas, so nothing of the environment is installed here. They are read
    when the object is made; the session opens with the first `reset`, so making an environment takes no place
    on a server with few.

    Instead of a running server's address, another source can be named: then its server is started, and
    stopped by `close`.

    Several threads may call one object: their calls are carried out one after the other.

    After a fork, a pickle or a copy, the object has no session: `reset` opens a new one on the original's
    server, and that server is not stopped by the copy.

    Args:
        base_url: The server's address, ``http://localhost:8000``.
        **source: Instead of the address: ``path``, an environment's folder; ``gym``, a Gymnasium id; ``app``,
            an application, ``module:attribute``; ``image``, a container image; or ``space``, a Space on the
            Hugging Face Hub, ``owner/name``. With ``gym``, ``wrappers`` are applied on the server, the
            innermost first: classes or import paths (``"gymnasium.wrappers:AtariPreprocessing"``), or pairs
            of one and its keywords. `gym.make_vec` takes them among the ``provider_options``.
        provider: What starts the server, if not the source's default: a name ("ray"), or a callable that
            makes a `Provider`; see docs/providers.md.
        provider_options: More keywords for the provider: of `ProcessProvider` for a folder, a Gymnasium id
            (``{"gym_kwargs": {"is_slippery": False}}``) and an application, of `DockerProvider` for an image
            (``{"memory": "2g"}``), of `HubProvider` for a Space.
        connect_timeout_s: The time to connect, in seconds.
        reset_timeout_s: The time for the answer to a reset, in seconds.
        step_timeout_s: The time for the answer to a step, in seconds. Our server then closes the session
            and frees its place; if it does not answer at all, that is noticed 3 s later.
        capacity_timeout_s: How long making the environment waits for a server that is not up yet, and `reset`
            for one that is full or restarting, in seconds.
        on_session_lost: What a step does when its session is lost for good: "raise" an error, or "truncate"
            the episode, with the last observation, reward 0 and the reason in ``info["session_lost"]``. With
            "truncate", a reset whose session is lost is tried again in a new one, for ``capacity_timeout_s``.
        on_misfit: What happens to an observation that does not fit the server's own schema: "raise"
            `ProtocolError`, or "coerce" it. Then what is missing or wrong is filled with the nearest value,
            what is extra is dropped, ``info["misfits"]`` lists both, and the first ones are logged.
        unwrap: Whether a model with one field is that field's own space, instead of a `Dict` of one.
        omit_defaults: Leave out optional action fields; the server uses their defaults.
        infer_shapes: Give arrays of unknown length the shape that an episode's first observation has. If it
            changes later, the step raises `ProtocolError`.
        action_space: A space that you know better than the schema: the whole, or a dict from the path of a
            field to its space. It is checked against the schema.
        observation_space: The same for observations.
        render_mode: What `render` returns: "rgb_array" if the server renders images, or the observation has
            one; "ansi" the same with text; or None.
        report_times: Whether each step's ``info["times_us"]`` says where its time went; see `metrics`.
        api_key: The server's key. By default the value of the variable `OPENENV_API_KEY`; "" sends none.
            Prefer the variable: the keywords of `gym.make` end up in ``env.spec``, which Gymnasium copies,
            prints and pickles.
        headers: Further headers for each request and each handshake. A pickle contains neither key nor
            headers.
        ca_file: A PEM file with the certificate authorities to trust instead of the machine's.

    Attributes:
        action_space: The space of the action model's fields, without ``metadata``.
        observation_space: The space of the observation model's fields, without ``done``, ``reward``,
            ``truncated`` and ``metadata``.
        schema_report: The rule that made each part of both spaces, and whether a space is larger than its
            schema; then the server may still reject an element.
        tools: The tools that actions call, if the server's actions are calls of tools: their names,
            descriptions, input schemas and spaces, in the order of the alternatives of `action_space`. If
            they change later, the next info has ``tools_changed``: the names ``added`` and ``removed``.

    Raises:
        ConfigurationError: Not exactly one source, or the server cannot be started.
        UnknownKeywordError: A keyword is unknown.
        InvalidEndpointError: ``base_url`` is not a URL.
        EndpointUnreachableError: Nothing answers there.
        NotAnOpenEnvServerError: Something else answers there.
        UnauthorizedError: The server wants a key.
        UntrustedServerError: The server's certificate is not trusted.
        SchemaError: The server's schemas cannot become spaces.

    Example:
        >>> env = RemoteEnv("http://localhost:8000")
        >>> observation, info = env.reset(seed=7)
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}  # noqa: RUF012 - as Gymnasium has it
    _spec: EnvSpec | None = None

    def __init__(
        self,
        base_url: str | None = None,
        *,
        provider: ProviderChoice | None = None,
        provider_options: Mapping[str, Any] | None = None,
        connect_timeout_s: float = Timeouts().connect_s,
        reset_timeout_s: float = Timeouts().reset_s,
        step_timeout_s: float = Timeouts().step_s,
        capacity_timeout_s: float = 0.0,
        on_session_lost: OnSessionLost = "raise",
        on_misfit: OnMisfit = "raise",
        unwrap: bool = True,
        omit_defaults: bool = False,
        infer_shapes: bool = False,
        action_space: Override = None,
        observation_space: Override = None,
        render_mode: str | None = None,
        report_times: bool = False,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
        **source: Any,
    ) -> None:
        self._servers: ManagedServers | None = None
        self.call_lock: CallLock = CallLock()
        self.timeouts: Timeouts = Timeouts(connect_timeout_s, reset_timeout_s, step_timeout_s).checked()
        self.on_session_lost = check_on_session_lost(on_session_lost)
        if base_url is None or source or provider is not None or provider_options is not None:
            self._servers = _start_servers(base_url, source, provider, provider_options, api_key, headers)
        if self._servers is not None:
            base_url, headers = self._servers.base_url, {**self._servers.headers, **(headers or {})}
        try:
            self.endpoint: Endpoint = Endpoint.parse(
                base_url,
                api_key=api_key,
                headers=headers,
                ca_file=ca_file,
                is_direct=self._servers is not None and self._servers.is_direct,
            )
            env_spaces = read_env_spaces(
                self.endpoint,
                retry(lambda: get_schemas(self.endpoint, timeout_s=connect_timeout_s), capacity_timeout_s),
                reset_timeout_s=reset_timeout_s,
                unwrap=unwrap,
                omit_defaults=omit_defaults,
                infer_shapes=infer_shapes,
                action_space=action_space,
                observation_space=observation_space,
                render_mode=render_mode,
                on_misfit=on_misfit,
            )
        except BaseException:
            if self._servers is not None:
                self._servers.stop()
            raise
        self.capacity_timeout_s = capacity_timeout_s
        self._env_spaces = env_spaces
        self.schema_report: dict[str, list[SchemaFinding]] = env_spaces.report
        self.tools: tuple[Tool, ...] = env_spaces.tools
        self.action_space: gym.Space[Any] = env_spaces.action.space
        self.observation_space: gym.Space[Any] = env_spaces.observation.space
        self.metadata = env_spaces.metadata
        self.render_mode = render_mode
        self.report_times = report_times
        self._shown: Any = None
        self._coding = SpaceCoding(env_spaces)
        self._session = Session(
            self.endpoint,
            BlockingTransport(),
            self._coding,
            self.timeouts,
            capacity_timeout_s=capacity_timeout_s,
            truncates=self.on_session_lost == "truncate",
            explain=None if self._servers is None else self._servers.explain,
        )
        self._metrics = SlotMetrics()
        self._step_times: list[tuple[float, Times]] = []  # not yet in the metrics
        self._steps = 0
        self._take_misfits = env_spaces.take_misfits
        self._is_closed = False
        self._warned_of_seed = False

    @property
    def spec(self) -> EnvSpec | None:
        """The spec that the environment was made from, with the served environment's limits of episodes."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = self._env_spaces.served.complete(spec)

    @locked
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Makes the episode repeatable if the environment honours seeds. If it ignores the seed,
                ``info["seed_ignored"]`` is True.
            options: Further keywords for the environment's own ``reset``.

        Returns:
            An element of `observation_space`, in fresh memory, and the environment's metadata.

        Raises:
            ClosedError: The environment was closed.
            ActionRefusedError: The environment's ``reset`` rejects an option.
            CapacityError: The server has no free session.
            RemoteEnvironmentError: The environment raised. The session continues.
            SessionLostError: The connection broke.
            DeadlineExceededError: No response in time.
        """
        self._check_not_closed()
        data = reset_options(options)
        if seed is not None:
            # Gymnasium takes Python's integers only, and users pass NumPy's.
            seed = data["seed"] = int(seed)
        super().reset(seed=seed)
        changed = self._changed_tools() if self.tools and self._steps and self._session.is_open else {}
        outcome = run(self._session.reset(data))
        info = {**outcome.info, **changed}
        if self._take_misfits is not None and (misfits := self._take_misfits()[0]):
            info["misfits"] = misfits
        self._steps, self._shown = 0, outcome.observation
        if info.get("seed_ignored") and not self._warned_of_seed:
            self._warned_of_seed = True
            logger.warn(
                f"The environment at {self.endpoint} ignores seeds, so its episodes are not repeatable"
            )
        return outcome.observation, info

    @locked
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Args:
            action: An element of `action_space`, or what can be cast to one without loss: an array of another
                dtype, or of one number.

        Returns:
            observation: An element of `observation_space`, in fresh memory.
            reward: A float; 0.0 if the server sends none.
            terminated: Whether the episode reached its end.
            truncated: Whether it was cut short.
            info: The environment's metadata.

        Raises:
            ClosedError: The environment was closed.
            ResetNeededError: No episode is running.
            ActionOutsideSpaceError: The action is not in the space. Nothing was sent.
            ActionRefusedError: The server's action model rejects it. The session continues.
            RemoteEnvironmentError: The environment raised. The session continues.
            SessionLostError: The connection broke, and the session could not be resumed. This and the two
                that follow are not raised if ``on_session_lost`` is "truncate".
            StepTimeoutError: The step took longer than the server allows.
            DeadlineExceededError: No response in time.
        """
        begin = perf_counter()
        self._check_not_closed()
        try:
            action = self._coding.cast(action)
        except SpaceError as error:
            raise ActionOutsideSpaceError(
                f"The action is outside the space: {error}", advice=self._advice_on(action)
            ) from error
        try:
            observation, reward, terminated, truncated, info, times = run(
                self._session.step(action, f"step {self._steps + 1}")
            )
        except LOSSES as loss:
            if self.on_session_lost == "raise":
                advise_truncation(loss)
                raise
            log.warning("The episode is truncated: %s", loss.message)
            return deepcopy(self._shown), 0.0, False, True, {"session_lost": loss.message}
        reward = 0.0 if reward is None else float(reward)
        if self._take_misfits is not None and (misfits := self._take_misfits()[0]):
            info["misfits"] = misfits
        if self.tools and observation["error"].startswith("tool_not_found"):
            info.update(self._changed_tools())
        self._steps, self._shown = self._steps + 1, observation
        took_s = perf_counter() - begin
        self._step_times.append((took_s, times))
        if len(self._step_times) == METRICS_BUFFER:
            self._metrics.add_all(self._step_times)
        if self.report_times:
            info["times_us"] = dict(zip(PARTS, parts_us(took_s, times), strict=True))
        return observation, reward, terminated, truncated, info

    def action_from_json(self, payload: str | Mapping[str, Any]) -> Any:
        """Return the action that a JSON object stands for, as a language model writes it.

        Args:
            payload: The fields of the server's action model by name, or the JSON text of them. Fields with a
                default may be left out.

        Returns:
            An element of `action_space`.

        Raises:
            ActionOutsideSpaceError: It does not fit. The message names each part that is wrong by its path,
                and what is right there.

        Example:
            >>> env.step(env.action_from_json('{"move": "left"}'))
        """
        return self._env_spaces.action_from_json(payload)

    def observation_to_json(self, observation: Any) -> Any:
        """Return an observation as the server sends it: the fields of its observation model, as JSON values.

        Args:
            observation: An element of `observation_space`.
        """
        return self._env_spaces.observation_to_json(observation)

    @property
    @locked
    def metrics(self) -> dict[str, Any]:
        """Where the time of steps went.

        Returns:
            ``steps``, an int, and under ``environment``, ``server``, ``network`` and ``client`` the mean
            microseconds of each; `openenv_gym.metrics.Metrics` says what they are.
        """
        self._metrics.add_all(self._step_times)
        return {"steps": self._metrics.steps, **self._metrics.mean_us()}

    @locked
    def render(self) -> Any:
        """Render on the server if it can; otherwise render the last observation.

        Returns:
            For "rgb_array" uint8 of shape (H, W, 3) in fresh memory; for "ansi" a str; without a render mode
            None, and a warning.

        Raises:
            ClosedError: The server renders, but the environment was closed.
            ResetNeededError: Before the first reset.
        """
        if self.render_mode is None:
            warn_without_mode(self._env_spaces.render_modes)
            return None
        if self._shown is None:
            raise ResetNeededError("Nothing to render before the first reset")
        if self.render_mode == self._env_spaces.server_renders:
            self._check_not_closed()
            return run(self._session.render())
        return self._env_spaces.renderers[self.render_mode](self._shown)

    @locked
    def close(self) -> None:
        """End the session, and stop a server that was started for it. Safe to call again."""
        self._is_closed = True
        try:
            run(self._session.close())
        finally:
            if self._servers is not None:
                self._servers.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the servers, which this object alone stops."""
        return {**self.__dict__, "_servers": None}

    def _changed_tools(self) -> dict[str, Any]:
        """Compare the environment's tools now with those of the space; return what to add to an info."""
        try:
            listed = {tool.get("name"): tool for tool in run(self._session.list_tools())}
        except OpenEnvError as error:
            log.debug("%s: the tools cannot be listed: %s", self.endpoint, error)
            return {}
        known = [tool.name for tool in self.tools]
        added = [str(name) for name in listed if name not in known]
        removed = [name for name in known if name not in listed]
        if not added and not removed:
            return {}
        log.warning(
            "%s: the tools have changed since the environment was made (added: %s; removed: %s). Its action "
            "space has the first ones; make a new environment for the others.",
            self.endpoint,
            ", ".join(added) or "none",
            ", ".join(removed) or "none",
        )
        return {"tools_changed": {"added": added, "removed": removed}}

    def _advice_on(self, action: Any) -> str:
        """What to do about an action outside the space."""
        if isinstance(action, dict) and len(action) == 1 and not isinstance(self.action_space, spaces.Dict):
            (value,) = action.values()
            return f"An action with one field is the field's value: pass {excerpt(value)}."
        return "env.action_space.sample() gives one that is inside."

    def _check_not_closed(self) -> None:
        if self._is_closed:
            raise ClosedError(f"The environment at {self.endpoint} was closed; make a new one")

    def __repr__(self) -> str:
        return f"RemoteEnv({self.endpoint.base_url!r})"

    def __str__(self) -> str:
        return repr(self)


class SpaceCoding:
    """Actions and observations as elements of an environment's spaces.

    Args:
        env_spaces: The spaces and codecs.
    """

    payloads = False

    def __init__(self, env_spaces: EnvSpaces) -> None:
        self.payload = env_spaces.action.encode
        self._env_spaces = env_spaces

    @cached_property
    def _actions(self) -> Column:
        return column_of(self._env_spaces.action)

    @cached_property
    def _observations(self) -> Column:
        return column_of(self._env_spaces.observation)

    def cast(self, action: Any) -> Any:
        """Return what is nearly an action as an action.

        Raises:
            SpaceError: It cannot be cast.
        """
        return self._actions.cast(action)

    def column(self, action: Any) -> Any:
        """Return an action as a column of one."""
        return self._actions.from_elements([action])

    def element(self, observations: Any) -> Any:
        """Return the observation in a column of one, in fresh memory."""
        return self._observations.element(observations, 0)


def _start_servers(
    base_url: object,
    source: Mapping[str, object],
    provider: ProviderChoice | None,
    provider_options: Mapping[str, Any] | None,
    api_key: str | None,
    headers: Mapping[str, str] | None,
) -> ManagedServers | None:
    from openenv_gym.providers.managed import check_keywords, servers_for
    from openenv_gym.vector import RemoteVectorEnv

    vector_only = signature(RemoteVectorEnv).parameters
    check_keywords(RemoteEnv.__name__, source, signature(RemoteEnv).parameters, vector_only=vector_only)
    return servers_for(
        base_url,
        source,
        sessions=1,
        provider=provider,
        provider_options=provider_options,
        api_key=api_key,
        headers=headers,
    )
