"""`RemoteVectorEnv`: many sessions of a server as one ``gymnasium.vector.VectorEnv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import Space, logger
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from openenv_gym.env_spaces import OnMisfit, read_env_spaces
from openenv_gym.errors import (
    ActionOutsideSpaceError,
    CapacityError,
    ClosedError,
    ConfigurationError,
    LocalAttributeError,
    NoPendingCallError,
    NotABatchError,
    OpenEnvError,
    PendingCallError,
    ResetNeededError,
    SpaceError,
    UsageError,
    WaitTimeoutError,
    excerpt,
)
from openenv_gym.metrics import METRICS_BUFFER, Metrics
from openenv_gym.rendering import FrameLists, warn_without_mode
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.recovery import (
    LOSSES,
    OnSessionLost,
    check_on_session_lost,
    retry,
    retry_in_line,
)
from openenv_gym.session.session import Times, reset_options
from openenv_gym.spaces.casting import cast
from openenv_gym.spaces.columns import column_of
from openenv_gym.spaces.models import Override
from openenv_gym.transport.blocking import CallLock, locked
from openenv_gym.vector.arguments import checked_mask, seeds_of, slots_of
from openenv_gym.vector.backend import Backend, EpisodeRules
from openenv_gym.vector.results import Ready, ResultBuffer, named
from openenv_gym.vector.server_pool import Addresses, ServerPool
from openenv_gym.wire.v2 import Ticket

if TYPE_CHECKING:
    from openenv_gym.providers.managed import ManagedServers, ProviderChoice
    from openenv_gym.spaces.compiler import SchemaFinding
    from openenv_gym.spaces.tools import Tool


class RemoteVectorEnv(VectorEnv[Any, Any, Any]):
    """Many sessions of an environment server, each in a slot, driven from one thread.

    If the server speaks version 2 of the protocol, all slots share one socket to each of its processes, and
    their actions travel in one frame; otherwise each slot has a socket. In either case all actions are sent
    before the first response is read, so that the sessions step at the same time.

    Seeds, autoreset, ``options["reset_mask"]`` and infos are those of Gymnasium's `SyncVectorEnv`, except
    that infos whose type differs between slots lose nothing here.

    Several threads may call one object: their calls are carried out one after the other.

    Several servers of one environment share the slots in proportion to their free sessions. If one dies, its
    slots lose their episodes, and begin the next ones on the others, or there once it is back.

    Args:
        base_url: The server's address, ``http://localhost:8000``; a list of several servers' addresses; or a
            function that returns such a list, called whenever sessions are opened.
        num_envs: The number of slots; the servers need as many free sessions.
        **source: Instead of the address, as in `RemoteEnv`: ``path``, ``gym``, ``app``, ``image`` or
            ``space``.
        replicas: How many servers are started for the source; they share the slots.
        provider: As in `RemoteEnv`; "ray" starts the servers on the nodes of a Ray cluster.
        provider_options: As in `RemoteEnv`; with Ray those of `RayProvider`.
        autoreset_mode: When a slot whose episode has ended is reset: in the next step, in the same step, or
            by the caller.
        max_episode_steps: Truncates episodes after so many steps.
        copy: Whether observations are returned in fresh memory. False returns the batch arrays themselves,
            which the next calls overwrite.
        connect_timeout_s: The time to connect, in seconds.
        reset_timeout_s: The time for the response to a reset, in seconds.
        step_timeout_s: The time for the response to a step, in seconds. The server gives up on the slots that
            take longer, and the others' results count. If it does not answer at all within 3 s more, all
            slots of the connection are lost.
        capacity_timeout_s: How long making the environment waits if no server is up yet; and the first
            `reset`, and whatever opens a new session, if they are full or restarting, in seconds. With `send`
            and `recv`, the other slots continue meanwhile.
        on_session_lost: As in `RemoteEnv`, slot by slot: "truncate" ends the episodes whose sessions are
            lost, and begins the next ones in new sessions; the other slots continue.
        on_misfit: As in `RemoteEnv`, slot by slot.
        unwrap: As in `RemoteEnv`.
        omit_defaults: As in `RemoteEnv`.
        infer_shapes: As in `RemoteEnv`.
        action_space: As in `RemoteEnv`, of one slot.
        observation_space: As in `RemoteEnv`, of one slot.
        render_mode: As in `RemoteEnv`; or with ``_list`` at its end, to collect a frame of each step.
        report_times: As in `RemoteEnv`; the info holds an array over the slots for each part.
        api_key: As in `RemoteEnv`, like the two that follow.
        headers: As in `RemoteEnv`.
        ca_file: As in `RemoteEnv`.

    Raises:
        ConfigurationError: No slots, an unsupported render mode, or servers whose schemas differ; and what
            `RemoteEnv` raises.

    Example:
        >>> envs = gym.make_vec("openenv/remote", base_url="http://localhost:8000", num_envs=64)
        >>> observations, infos = envs.reset(seed=7)
        >>> observations, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
    """

    _spec: EnvSpec | None = None

    def __init__(
        self,
        base_url: Addresses | None = None,
        num_envs: int = 1,
        *,
        replicas: int = 1,
        provider: ProviderChoice | None = None,
        provider_options: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        copy: bool = True,
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
        super().__init__()
        if num_envs < 1:
            raise ConfigurationError(f"num_envs must be at least 1, got {num_envs}.")
        self._servers: ManagedServers | None = None
        self.call_lock: CallLock = CallLock()
        self.timeouts: Timeouts = Timeouts(connect_timeout_s, reset_timeout_s, step_timeout_s).checked()
        self.on_session_lost = check_on_session_lost(on_session_lost)
        is_address = base_url is not None and not source and replicas == 1
        if not is_address or provider is not None or provider_options is not None:
            self._servers = _start_servers(
                base_url,
                source,
                sessions=num_envs,
                replicas=replicas,
                provider=provider,
                provider_options=provider_options,
                api_key=api_key,
                headers=headers,
            )
        if self._servers is not None:
            base_url, headers = self._servers.addresses, {**self._servers.headers, **(headers or {})}
        assert base_url is not None
        try:
            self._pool = ServerPool(
                base_url,
                connect_timeout_s=connect_timeout_s,
                api_key=api_key,
                headers=headers,
                ca_file=ca_file,
                is_direct=self._servers is not None and self._servers.is_direct,
            )
            schemas = retry(self._pool.read_schemas, capacity_timeout_s)
            self.endpoint = self._pool.first
            env_spaces = read_env_spaces(
                self.endpoint,
                schemas,
                reset_timeout_s=reset_timeout_s,
                unwrap=unwrap,
                omit_defaults=omit_defaults,
                infer_shapes=infer_shapes,
                action_space=action_space,
                observation_space=observation_space,
                render_mode=None if render_mode is None else render_mode.removesuffix("_list"),
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
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.report_times = report_times
        self.autoreset_mode: AutoresetMode = AutoresetMode(autoreset_mode)
        self.copy = copy
        self.render_mode = render_mode
        # A slot's seed, until its generator is needed.
        self._generators: list[int | tuple[np.random.Generator, int] | None] = [None] * num_envs
        self._call = ""  # "reset" or "step" after reset_async or step_async
        self._call_slots = np.zeros(num_envs, np.bool_)
        self._frames = FrameLists(num_envs) if (render_mode or "").endswith("_list") else None
        self.metadata: dict[str, Any] = {
            **env_spaces.metadata,
            "render_modes": [*env_spaces.render_modes, *([render_mode] if self._frames else [])],
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_action_space: Space[Any] = env_spaces.action.space
        self.single_observation_space: Space[Any] = env_spaces.observation.space
        self.action_space: Space[Any] = batch_space(self.single_action_space, num_envs)
        self.observation_space: Space[Any] = batch_space(self.single_observation_space, num_envs)
        self._results = ResultBuffer(env_spaces, num_envs)
        self._actions = column_of(env_spaces.action)
        self._backend: Backend | None = None
        # When the last step of each slot began; one number if it is the same.
        self._began_at: float | NDArray[np.float64] = 0.0
        self._metrics = Metrics(num_envs)
        self._step_times: list[tuple[Any, Any, Times]] = []  # not yet in the metrics

    @property
    def spec(self) -> EnvSpec | None:
        """The spec that the environment was made from, with the limits of its episodes."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = self._env_spaces.served.complete(spec)
        if self._spec is not None and self.max_episode_steps is not None:
            self._spec.max_episode_steps = self.max_episode_steps

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each slot's last reset with one, or of its local generator if it never had one."""
        return tuple(seed for _, seed in map(self._generator, self._results.all))

    @property  # type: ignore[misc]  # read-only, as in Gymnasium's SyncVectorEnv
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """A local generator for each slot, seeded like its environment, whose own is on the server."""
        return tuple(generator for generator, _ in map(self._generator, self._results.all))

    def _generator(self, slot: int) -> tuple[np.random.Generator, int]:
        made = self._generators[slot]
        if not isinstance(made, tuple):
            made = self._generators[slot] = seeding.np_random(made)
        return made

    @locked
    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in each slot, or in those of ``options["reset_mask"]``.

        Args:
            seed: None, a first seed (slot i gets ``seed + i``), or a seed for each slot.
            options: Further keywords for the environments' own ``reset``. ``reset_mask``, a bool array of
                shape (num_envs,) with at least one True, names the slots. The others keep their episodes, and
                what they were sent by `send` is left for `recv`.

        Returns:
            The observations of all slots, the latest that have come, and the infos of those that were reset.

        Raises:
            ClosedError: The environment was closed.
            UsageError: One of these slots is pending.
            CapacityError: The server has not as many free sessions; and what `RemoteEnv.reset` raises.
        """
        self.reset_async(seed, options)
        return self.reset_wait()

    @locked
    def reset_async(self, seed: Any = None, options: dict[str, Any] | None = None) -> None:
        """Begin a `reset` without waiting for it; `reset_wait` returns its results.

        The first one opens the sessions, and waits for that.

        Raises:
            PendingCallError: One of these slots has a reset or a step pending; and what `reset` raises.
        """
        self._check_not_closed()
        self._check_no_call("reset_async")
        seeds = seeds_of(seed, self.num_envs)
        data = reset_options(options)
        mask = np.ones(self.num_envs, np.bool_)
        if "reset_mask" in data:
            mask = checked_mask(data.pop("reset_mask"), self.num_envs)
        chosen = np.flatnonzero(mask).tolist()
        chosen_seeds = [seeds[slot] for slot in chosen]
        if self._backend is None:
            if len(chosen) < self.num_envs:
                raise ResetNeededError("The first reset must be of all slots, without reset_mask")
            retry_in_line(
                lambda ticket: self._begin(chosen_seeds, data, ticket),
                self.capacity_timeout_s,
                truncates=self.on_session_lost == "truncate",
            )
        else:
            self._backend.forget_lost(mask)
            self._check_not_pending(chosen)
            self._backend.forget_failures(mask)
            self._backend.send_reset(chosen, chosen_seeds, data)
        for slot, its_seed in zip(chosen, chosen_seeds, strict=True):
            if its_seed is not None:
                self._generators[slot] = its_seed
        self._call, self._call_slots = "reset", mask

    @locked
    def reset_wait(self, timeout: float | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the results of `reset_async`.

        Args:
            timeout: The time to wait, in seconds; None leaves it to ``reset_timeout_s``.

        Raises:
            NoPendingCallError: `reset_async` was not called.
            WaitTimeoutError: Not all slots are ready in time. `reset_wait` may be called again; and what
                `reset` raises.
        """
        mask = self._wait_for("reset", timeout)
        chosen = np.flatnonzero(mask).tolist()
        results = self._results.take_resets(chosen, copy=self.copy)
        if self._frames is not None:
            self._frames.add(self._render_now(), chosen)
        return results

    @locked
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one action in each slot.

        Args:
            actions: An element of `action_space`.

        Returns:
            observations: An element of `observation_space`.
            rewards: float64 of shape (num_envs,).
            terminations: bool of shape (num_envs,).
            truncations: bool of shape (num_envs,).
            infos: A dict of arrays over the slots; ``_key`` is the mask of the slots that have ``key``.

        Raises:
            ClosedError: The environment was closed.
            ResetNeededError: A slot has no episode under way, and is not reset by itself.
            ActionOutsideSpaceError: An action is not in the space. Nothing was sent.
            EndpointError: A slot's connection failed. The others took their steps; `recv` hands them out.
            RemoteError: A slot's server refused, or its environment raised. The same holds.
        """
        self.step_async(actions)
        return self.step_wait()

    @locked
    def step_async(self, actions: Any) -> None:
        """Send an action to each slot without waiting; `step_wait` returns the results.

        Raises:
            PendingCallError: A slot has a reset or a step pending; and what `step` raises.
        """
        self._check_no_call("step_async")
        if self._frames is not None:
            self._call_slots = self._results.terminated | self._results.truncated
        self._send(actions, self._results.all, gather=True)
        self._call = "step"

    @locked
    def step_wait(self, timeout: float | None = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Return the results of `step_async`.

        Args:
            timeout: The time to wait, in seconds; None leaves it to ``step_timeout_s``.

        Raises:
            NoPendingCallError: `step_async` was not called.
            WaitTimeoutError: Not all slots are ready in time. `step_wait` may be called again; and what
                `step` raises.
        """
        had_ended = self._wait_for("step", timeout)
        assert self._backend is not None
        results = self._results.take_all(copy=self.copy)
        self._note_times(self._backend, results[4])
        if self._frames is not None:
            was_reset = {
                AutoresetMode.NEXT_STEP: had_ended,
                AutoresetMode.SAME_STEP: results[2] | results[3],
                AutoresetMode.DISABLED: np.zeros_like(had_ended),
            }
            self._frames.add(self._render_now(), self._results.all, was_reset[self.autoreset_mode])
        return results

    def _wait_for(self, call: str, timeout_s: float | None) -> np.ndarray[Any, Any]:
        """Wait for `reset_async` or `step_async`; return the slots that it has kept."""
        self._check_not_closed()
        if self._call != call or self._backend is None:
            raise NoPendingCallError(f"Calling `{call}_wait` without any prior call to `{call}_async`.", call)
        slots, self._call = self._call_slots, ""
        try:
            self._backend.collect(slots if call == "reset" else None, timeout_s)
        except WaitTimeoutError:
            self._call = call
            raise
        return slots

    def _check_no_call(self, name: str) -> None:
        if self._call == "step" and not self._results.pending.any():
            self._call = ""  # an interrupt has ended it
        if self._call:
            raise PendingCallError(
                f"Calling `{name}` while waiting for a pending call to `{self._call}` to complete. "
                f"Call `{self._call}_wait` first.",
                self._call,
            )

    @locked
    def send(self, actions: Any, slots: Sequence[int] | np.ndarray[Any, Any] | None = None) -> None:
        """Send an action to each of some slots without waiting; `recv` returns the results.

        Args:
            actions: An element of the single action space's batch of as many.
            slots: The numbers of the slots; by default all.

        Raises:
            UsageError: A slot is named twice, is not there, or is pending; or the render mode is a
                list; and what `step` raises.
        """
        if self._frames is not None:
            raise UsageError(
                f"render_mode {self.render_mode!r} collects the frames of step, not of send and recv"
            )
        self._send(
            actions, self._results.all if slots is None else slots_of(slots, self.num_envs), gather=False
        )

    @locked
    def recv(
        self,
        min_ready: int = 1,
        timeout_s: float | None = None,
        *,
        slots: Sequence[int] | np.ndarray[Any, Any] | None = None,
    ) -> Ready:
        """Wait for slots that were sent an action, and return those that are ready.

        Args:
            min_ready: How many to wait for. If more are ready, more are returned.
            timeout_s: The time to wait, in seconds; None leaves it to ``step_timeout_s`` and
                ``reset_timeout_s``, which count from the sending.
            slots: Wait for exactly these and return them; the results of others stay for a later call.

        Raises:
            UsageError: Fewer slots than that, or not all of ``slots``, are pending.
            DeadlineExceededError: Not enough of them in time. A later call gets them.
            EndpointError: A slot's connection failed; a later call gets the others.
            RemoteError: A slot's server refused, or its environment raised. The same holds.
        """
        self._check_not_closed()
        backend = self._backend
        under_way = self._results.ready | self._results.pending
        if slots is not None:
            chosen = np.zeros(self.num_envs, np.bool_)
            chosen[slots_of(slots, self.num_envs)] = True
            idle = np.flatnonzero(chosen & ~under_way).tolist()
            if backend is None or (idle and not backend.has_failure(chosen)):
                raise UsageError(f"Nothing is pending for {named(idle)}. Send actions first.")
            self._call = ""
            ready = backend.receive_slots(chosen, timeout_s)
            self._note_times(backend, ready.infos, ready.slots)
            return ready
        expected = int(under_way.sum())
        if backend is None or not (backend.failures or 1 <= min_ready <= expected):
            raise UsageError(
                f"min_ready={min_ready}, but {expected} slots are pending. Send more actions, or change it."
            )
        self._call = ""
        ready = backend.receive(min_ready, timeout_s)
        self._note_times(backend, ready.infos, ready.slots)
        return ready

    def actions_from_json(self, payloads: Sequence[str | Mapping[str, Any]]) -> Any:
        """Return the actions that JSON objects stand for, as a batch for `step` or `send`.

        Args:
            payloads: For each slot the fields of the server's action model, or the JSON text of them.

        Raises:
            ActionOutsideSpaceError: Some do not fit. The message names their places in ``payloads``, each
                part that is wrong by its path, and what is right there.
        """
        memory = self._actions.allocate(len(payloads))
        problems = []
        for place, payload in enumerate(payloads):
            try:
                self._actions.put(self._env_spaces.action_from_json(payload), memory, place)
            except ActionOutsideSpaceError as error:
                problems.append(f"{place}: {error.message}")
        if problems:
            raise ActionOutsideSpaceError("\n".join(problems))
        return self._actions.batch(memory, copy=False)

    def observations_to_json(self, observations: Any, count: int | None = None) -> list[Any]:
        """Return each slot's observation as the server sends it, as JSON values.

        Args:
            observations: A batch: of all slots, or of those that `recv` returned.
            count: The number of slots in the batch; by default all.
        """
        elements = self._results.column.split(observations, self.num_envs if count is None else count)
        return [self._env_spaces.observation_to_json(element) for element in elements]

    @property
    @locked
    def metrics(self) -> dict[str, Any]:
        """Where the time of the steps went, by slot.

        Returns:
            ``steps``, int64 of shape (num_envs,), and under ``environment``, ``other_slots``, ``server``,
            ``network`` and ``client`` the mean microseconds of each, float64 of the same shape;
            `openenv_gym.metrics.Metrics` says what they are. Between `send` and `recv`, the caller's own time
            counts as network.
        """
        metrics = self._metrics
        metrics.add_all(self._step_times)
        return {"steps": metrics.steps.copy(), **metrics.mean_us()}

    @locked
    def reset_metrics(self) -> None:
        """Start `metrics` over."""
        self._metrics = Metrics(self.num_envs)
        self._step_times.clear()

    @locked
    def render(self) -> tuple[Any, ...]:
        """Render each slot on the server if it can; otherwise render its last observation.

        Returns:
            What `RemoteEnv.render` returns, for each slot. With "rgb_array_list", a list with a frame of each
            reset and step since the last call or the start of the slot's episode.

        Raises:
            ClosedError: The server renders, and the environment was closed.
            UsageError: The server renders, and a slot is pending.
            ResetNeededError: No episode was begun.
        """
        if self.render_mode is None:
            warn_without_mode(self._env_spaces.render_modes)
            return (None,) * self.num_envs
        if self._backend is None or not self._results.has_episode.all():
            raise ResetNeededError("Nothing to render before the first reset")
        return self._render_now() if self._frames is None else self._frames.take()

    def _render_now(self) -> tuple[Any, ...]:
        assert self._backend is not None
        assert self.render_mode is not None
        mode = self.render_mode.removesuffix("_list")
        if mode == self._env_spaces.server_renders:
            self._check_not_closed()
            self._check_not_pending(self._results.all)
            return tuple(self._backend.render())
        observations = self._results.column.batch(self._results.observations, copy=True)
        render = self._env_spaces.renderers[mode]
        return tuple(render(observation) for observation in iterate(self.observation_space, observations))

    @locked
    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of each slot.

        Args:
            name: ``state``, which the server is asked for; ``action_space``, ``observation_space``,
                ``render_mode``, ``metadata``, ``spec``, ``np_random`` or ``np_random_seed``.

        Raises:
            LocalAttributeError: Anything else: other attributes exist only on the server.
            ResetNeededError: The state, before the first reset.
            ClosedError: The state, after the environment was closed.
        """
        if name == "state":
            self._check_not_closed()
            if self._backend is None:
                raise ResetNeededError("There is no state before the first reset")
            self._check_not_pending(self._results.all)
            return tuple(self._backend.states())
        if name in ("action_space", "observation_space"):
            return (getattr(self, f"single_{name}"),) * self.num_envs
        if name in ("render_mode", "metadata", "spec"):
            return (getattr(self, name),) * self.num_envs
        if name in ("np_random", "np_random_seed"):
            values: tuple[Any, ...] = getattr(self, name)
            return values
        raise LocalAttributeError(
            f"The slots of {self} have state, spaces, render_mode, metadata, spec and np_random, no {name}. "
            "Other attributes exist only on the server."
        )

    def set_attr(self, name: str, values: Any) -> None:
        """Raise an error: the attributes of an environment on a server cannot be set from here.

        Raises:
            LocalAttributeError: Always. Pass what an environment needs as ``reset(options=…)``.
        """
        raise LocalAttributeError(
            f"The slots of {self} are on a server: their {name} cannot be set from here.",
            advice="Pass it as an option of reset, or when the server is started.",
        )

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method gives in each slot: ``render``, or an attribute of `get_attr`.

        Raises:
            LocalAttributeError: Anything else: other methods exist only on the server.
        """
        return self.render() if name == "render" else self.get_attr(name)

    @locked
    def close_extras(self, **kwargs: Any) -> None:
        """End all sessions, and stop servers that were started for them; `close` calls it."""
        if self._call:
            logger.warn(f"Calling `close` while waiting for a pending call to `{self._call}` to complete.")
        try:
            if self._backend is not None:
                self._backend.close()
        finally:
            if self._servers is not None:
                self._servers.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the sessions and the servers, which this object alone ends."""
        return {
            **self.__dict__,
            "_backend": None,
            "_servers": None,
            "_results": ResultBuffer(self._env_spaces, self.num_envs),
            "_metrics": Metrics(self.num_envs),
            "_step_times": [],
            "_call": "",
        }

    def _begin(self, seeds: list[int | None], options: dict[str, Any], ticket: Ticket | None) -> None:
        """Opens all sessions and resets them.

        Raises:
            CapacityError: The server has not as many free sessions. None was kept.
            OpenEnvError: A session was lost. None was kept if losses only truncate.
        """
        rules = EpisodeRules(
            self.autoreset_mode,
            self.max_episode_steps,
            self.on_session_lost == "truncate",
            self.capacity_timeout_s,
        )
        try:
            backend = self._backend = Backend(
                self._pool,
                self._env_spaces,
                self._results,
                rules,
                self.timeouts,
                ticket=ticket,
                explain=None if self._servers is None else self._servers.explain,
            )
            backend.send_reset(self._results.all, seeds, options)
            backend.collect()
        except CapacityError as error:
            self._drop_backend()
            if error.in_all is None and (self._pool.never_have(self.num_envs) or error.refused):
                missing = error.refused or error.asked_for - (error.available or 0)
                raise self._pool.too_few(self.num_envs, self.num_envs - missing) from error
            raise
        except OpenEnvError as error:
            if rules.truncates and isinstance(error, LOSSES):
                self._drop_backend()
            if self._servers is not None:
                self._servers.explain(error)
            raise

    def _drop_backend(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def _send(self, actions: Any, slots: list[int], *, gather: bool) -> Backend:
        begin = perf_counter()
        self._check_not_closed()
        self._check_not_pending(slots)
        backend = self._backend
        if backend is not None and backend.failures:
            chosen = np.zeros(self.num_envs, np.bool_)
            chosen[slots] = True
            backend.raise_failures(chosen)
        self._check_episodes(slots)
        actions = self._cast_actions(actions, slots)
        assert backend is not None
        if slots is self._results.all:
            self._began_at = begin
        else:
            if isinstance(self._began_at, float):
                self._began_at = np.full(self.num_envs, self._began_at)
            self._began_at[slots] = begin
        backend.send_step(slots, actions, gather=gather)
        return backend

    def _check_episodes(self, slots: Sequence[int]) -> None:
        results = self._results
        if np.count_nonzero(results.has_episode) < self.num_envs:
            missing = [slot for slot in slots if not results.has_episode[slot]]
            if missing:
                raise ResetNeededError(f"Slot {missing[0]} has no episode under way; call reset before step")
        if self.autoreset_mode is AutoresetMode.DISABLED:
            ended = [slot for slot in slots if results.terminated[slot] or results.truncated[slot]]
            if ended:
                raise ResetNeededError(
                    f"The episode of slot {ended[0]} has ended; reset it with options={{'reset_mask': …}}"
                )

    def _cast_actions(self, actions: Any, slots: Sequence[int]) -> Any:
        """Return actions as an element of the batch space, but for slots whose actions are ignored."""
        if self._actions.contains_fast(actions, len(slots)):
            return actions
        space = self._results.action_space(len(slots))
        try:
            return cast(space, actions)
        except SpaceError:
            pass  # find out in which slot
        try:
            each = list(iterate(space, actions))
        except (TypeError, ValueError, KeyError) as error:
            kind = NotABatchError if isinstance(error, TypeError) else ActionOutsideSpaceError
            raise kind(f"{excerpt(actions)} is not a batch of actions: {error}") from error
        if len(each) != len(slots):
            raise ActionOutsideSpaceError(f"{len(slots)} slots take {len(slots)} actions, not {len(each)}")
        results = self._results
        for slot, action in zip(slots, each, strict=True):
            is_ignored = self.autoreset_mode is AutoresetMode.NEXT_STEP and (
                results.terminated[slot] or results.truncated[slot]
            )
            if is_ignored:
                continue
            try:
                cast(self.single_action_space, action)
            except SpaceError as error:
                raise ActionOutsideSpaceError(
                    f"The action of slot {slot} is outside the space: {error}"
                ) from error
        return actions

    def _note_times(
        self, backend: Backend, infos: dict[str, Any], slots: np.ndarray[Any, Any] | None = None
    ) -> None:
        now, began_at, steps = perf_counter(), self._began_at, self._step_times
        for rows, times in backend.times:
            took_s = now - (began_at if isinstance(began_at, float) else began_at[rows])
            steps.append((rows, took_s, times))
        backend.times.clear()
        if self.report_times:
            self._metrics.add_all(steps)
            chosen = slice(None) if slots is None else slots
            infos["times_us"] = {part: us[chosen] for part, us in self._metrics.last_us().items()}
        elif len(steps) >= METRICS_BUFFER:
            self._metrics.add_all(steps)

    def _check_not_pending(self, slots: Sequence[int]) -> None:
        if np.count_nonzero(self._results.pending):
            pending = [slot for slot in slots if self._results.pending[slot]]
            if pending:
                raise PendingCallError(
                    f"{named(pending)} still pending: recv() returns the results.",
                    self._call or "step",
                )

    def _check_not_closed(self) -> None:
        if self.closed:
            raise ClosedError(f"The vector environment at {self.endpoint} was closed; make a new one")

    def __repr__(self) -> str:
        return f"RemoteVectorEnv({str(self._pool)!r}, num_envs={self.num_envs})"


def _start_servers(base_url: object, source: Mapping[str, object], **keywords: Any) -> ManagedServers | None:
    from openenv_gym.providers.managed import check_keywords, servers_for

    check_keywords(RemoteVectorEnv.__name__, source, signature(RemoteVectorEnv).parameters)
    return servers_for(base_url, source, **keywords)
