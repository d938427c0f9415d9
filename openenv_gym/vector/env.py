"""`RemoteVectorEnv`: many sessions of a server as one ``gymnasium.vector.VectorEnv``."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from openenv_gym.errors import (
    ActionOutsideSpaceError,
    ClosedError,
    ConfigurationError,
    ResetNeededError,
    UsageError,
)
from openenv_gym.interface import excerpt, read_interface
from openenv_gym.rendering import RENDER_MODES
from openenv_gym.spaces.models import Override
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.session import Session
from openenv_gym.vector.infos import batch_infos
from openenv_gym.vector.slots import Slot, collect, seeds_of


class Ready(NamedTuple):
    """What `RemoteVectorEnv.recv` returns: k slots that are ready, and what came of their actions.

    Attributes:
        slots: Their numbers, ascending, int64 of shape (k,).
        observations: An element of the single observation space's batch of k.
        rewards: float64 of shape (k,).
        terminations: bool of shape (k,).
        truncations: bool of shape (k,).
        infos: As in `RemoteVectorEnv.step`, with k places.
    """

    slots: np.ndarray[Any, Any]
    observations: Any
    rewards: np.ndarray[Any, Any]
    terminations: np.ndarray[Any, Any]
    truncations: np.ndarray[Any, Any]
    infos: dict[str, Any]


class RemoteVectorEnv(VectorEnv[Any, Any, Any]):
    """Many sessions of an environment server, each in a slot, driven from one thread.

    All actions are sent before the first answer is read, so the sessions step at the same time, on any
    OpenEnv server. Seeds, autoreset, ``options["reset_mask"]`` and infos are those of Gymnasium's
    `SyncVectorEnv`, but for infos whose type differs from slot to slot, which lose nothing here.

    Args:
        base_url: The server's address, ``http://localhost:8000``.
        num_envs: The number of slots; the server needs as many free sessions.
        autoreset_mode: When a slot whose episode has ended is reset: in the next step, in the same step, or
            by the caller.
        max_episode_steps: Truncates episodes after as many steps.
        copy: Whether observations are returned in fresh memory. False returns the batch arrays themselves,
            which the next call overwrites.
        connect_timeout_s: The time to connect, in seconds.
        message_timeout_s: The time for each answer, in seconds.
        unwrap: As in `RemoteEnv`, like all that follow.
        omit_defaults: As in `RemoteEnv`.
        infer_shapes: As in `RemoteEnv`.
        action_space: As in `RemoteEnv`, of one slot.
        observation_space: As in `RemoteEnv`, of one slot.
        render_mode: As in `RemoteEnv`.

    Raises:
        ConfigurationError: No slots, or a render mode that there is not; and what `RemoteEnv` raises.

    Example:
        >>> envs = gym.make_vec("openenv/remote", base_url="http://localhost:8000", num_envs=64)
        >>> observations, infos = envs.reset(seed=7)
        >>> observations, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
    """

    def __init__(
        self,
        base_url: str | None = None,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        copy: bool = True,
        connect_timeout_s: float = 10.0,
        message_timeout_s: float = 60.0,
        unwrap: bool = True,
        omit_defaults: bool = False,
        infer_shapes: bool = False,
        action_space: Override = None,
        observation_space: Override = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__()
        if base_url is None:
            raise ConfigurationError(
                "A vector environment needs the server: base_url='http://localhost:8000'"
            )
        if num_envs < 1:
            raise ConfigurationError(f"A vector environment has at least one slot, not {num_envs}")
        self.endpoint = Endpoint.parse(base_url)
        interface = read_interface(
            self.endpoint,
            connect_timeout_s=connect_timeout_s,
            message_timeout_s=message_timeout_s,
            unwrap=unwrap,
            omit_defaults=omit_defaults,
            infer_shapes=infer_shapes,
            action_space=action_space,
            observation_space=observation_space,
            render_mode=render_mode,
        )
        self._action_codec, observation_codec, self.schema_report, self._renderers = interface
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.copy = copy
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": [mode for mode in RENDER_MODES if mode in self._renderers],
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_action_space = self._action_codec.space
        self.single_observation_space = observation_codec.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._observations: Any = create_empty_array(self.single_observation_space, num_envs)
        self._slots = [
            Slot(
                number,
                Session(
                    self.endpoint, connect_timeout_s=connect_timeout_s, message_timeout_s=message_timeout_s
                ),
                observation_codec,
                self.autoreset_mode,
                max_episode_steps,
            )
            for number in range(num_envs)
        ]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode in each slot, or in those of ``options["reset_mask"]``.

        Args:
            seed: None, a first seed (slot i gets ``seed + i``), or a seed for each slot.
            options: Further keywords for the environments' own ``reset``. ``reset_mask``, a bool array of
                shape (num_envs,) with at least one True, names the slots; the others keep their observation.

        Returns:
            The observations of all slots, and the infos of those that were reset.

        Raises:
            ClosedError: The environment was closed.
            UsageError: A slot has a step under way.
            CapacityError: The server has not as many free sessions; and what `RemoteEnv.reset` raises.
        """
        self._check_not_closed()
        seeds = seeds_of(seed, self.num_envs)
        data = dict(options or {})
        mask = self._mask(data.pop("reset_mask", None))
        chosen = [slot for slot in self._slots if mask[slot.number]]
        if not all(mask) and any(slot.observation is None for slot in self._slots if slot not in chosen):
            raise ResetNeededError("The first reset is one of all slots, without reset_mask")
        self._check_nothing_is_owed(chosen)
        asked: list[Slot] = []
        for slot in chosen:
            slot_seed = seeds[slot.number]
            slot.ask_reset(data if slot_seed is None else {**data, "seed": slot_seed})
            asked.append(slot)
            if slot.failure is not None:
                break  # a server that one slot cannot reach is not tried for each of the others
        collect(asked, len(asked), None)
        infos = batch_infos({slot.number: slot.info for slot in chosen}, self.num_envs)
        self._hand_out(chosen)
        return self._batch_of_all(), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Takes one action in each slot.

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
        self.send(actions)
        collect(self._slots, self.num_envs, None)
        infos = self._infos_of(self._slots, self.num_envs)
        self._hand_out(self._slots)
        return (self._batch_of_all(), *_results_of(self._slots), infos)

    def send(self, actions: Any, slots: Sequence[int] | np.ndarray[Any, Any] | None = None) -> None:
        """Sends an action to each of some slots, and does not wait; `recv` gets what comes of it.

        Args:
            actions: An element of the single action space's batch of as many.
            slots: The numbers of the slots; all of them where they are left out.

        Raises:
            UsageError: A slot is named twice, is not there, or has a step under way; and what `step` raises.
        """
        self._check_not_closed()
        chosen = self._slots if slots is None else self._chosen(slots)
        self._check_nothing_is_owed(chosen)
        payloads = [
            self._payload(slot, action)
            for slot, action in zip(chosen, self._each(actions, chosen), strict=True)
        ]
        for slot, payload in zip(chosen, payloads, strict=True):
            if payload is None:
                slot.ask_reset({})
            else:
                slot.ask_step(payload)

    def recv(self, min_ready: int = 1, timeout_s: float | None = None) -> Ready:
        """Waits for slots that were sent an action, and returns those that are ready.

        Args:
            min_ready: How many to wait for. More are returned where more are ready.
            timeout_s: The time to wait, in seconds; None leaves it to the time for each message.

        Raises:
            UsageError: Fewer slots than that have a step under way.
            DeadlineExceededError: Not enough of them in time. A later call gets them.
            EndpointError: A slot's connection failed; a later call gets the others.
            RemoteError: A slot's server refused, or its environment raised. The same holds.
        """
        self._check_not_closed()
        expected = sum(slot.is_ready or slot.owes is not None for slot in self._slots)
        if not 1 <= min_ready <= expected:
            raise UsageError(f"min_ready is {min_ready}, but {expected} slots have a step under way")
        ready = collect(self._slots, min_ready, timeout_s)
        size = len(ready)
        observations: Any = concatenate(
            self.single_observation_space,
            [slot.observation for slot in ready],
            create_empty_array(self.single_observation_space, size),  # type: ignore[arg-type]
        )
        infos = self._infos_of(ready, size)
        self._hand_out(ready)
        numbers = np.array([slot.number for slot in ready], np.int64)
        return Ready(numbers, observations, *_results_of(ready), infos)

    def render(self) -> tuple[Any, ...]:
        """The last observation of each slot as the render mode has it.

        Raises:
            ConfigurationError: The environment was made without a render mode.
            ResetNeededError: No episode was begun.
        """
        if self.render_mode is None:
            raise ConfigurationError(
                f"There is nothing to render: make it with render_mode=, one of {list(self._renderers)}"
            )
        if any(slot.observation is None for slot in self._slots):
            raise ResetNeededError("There is nothing to render before the first reset")
        render = self._renderers[self.render_mode]
        return tuple(render(slot.observation) for slot in self._slots)

    def close_extras(self, **kwargs: Any) -> None:
        """Ends all sessions; `close` calls it."""
        for slot in self._slots:
            slot.session.close()

    def _payload(self, slot: Slot, action: Any) -> dict[str, Any] | None:
        """What to send for a slot's action; None where the slot is to be reset instead."""
        if not slot.session.has_episode:
            raise ResetNeededError(f"Slot {slot.number} has no episode under way; call reset before step")
        if slot.has_ended and self.autoreset_mode is AutoresetMode.NEXT_STEP:
            return None
        if slot.has_ended and self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeededError(
                f"The episode of slot {slot.number} has ended; reset it with options={{'reset_mask': …}}"
            )
        if not self.single_action_space.contains(action):
            raise ActionOutsideSpaceError(
                f"The action of slot {slot.number}, {excerpt(action)}, is not in {self.single_action_space}"
            )
        payload: dict[str, Any] = self._action_codec.encode(action)
        return payload

    def _each(self, actions: Any, chosen: Sequence[Slot]) -> list[Any]:
        space = (
            self.action_space
            if len(chosen) == self.num_envs
            else batch_space(self.single_action_space, len(chosen))
        )
        try:
            each = list(iterate(space, actions))
        except (TypeError, ValueError, KeyError) as error:
            raise ActionOutsideSpaceError(f"{excerpt(actions)} is no batch of actions: {error}") from error
        if len(each) != len(chosen):
            raise ActionOutsideSpaceError(f"{len(chosen)} slots take {len(chosen)} actions, not {len(each)}")
        return each

    def _chosen(self, slots: Sequence[int] | np.ndarray[Any, Any]) -> list[Slot]:
        numbers = [int(number) for number in slots]
        wrong = [number for number in numbers if not 0 <= number < self.num_envs]
        if wrong or len(set(numbers)) != len(numbers):
            raise UsageError(f"The slots are 0 to {self.num_envs - 1}, each once, not {numbers}")
        return [self._slots[number] for number in numbers]

    def _mask(self, mask: Any) -> np.ndarray[Any, Any]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (self.num_envs,)):
            raise UsageError(f"reset_mask is a bool array of shape ({self.num_envs},), not {excerpt(mask)}")
        if not mask.any():
            raise UsageError("reset_mask has no True, so there is nothing to reset")
        return mask

    def _infos_of(self, slots: Sequence[Slot], size: int) -> dict[str, Any]:
        infos = {}
        for place, slot in enumerate(slots):
            info = slot.info
            if slot.final is not None:
                info = {"final_obs": slot.final[0], "final_info": slot.final[1], **info}
            if info:
                infos[place] = info
        return batch_infos(infos, size)

    def _batch_of_all(self) -> Any:
        observations = [slot.observation for slot in self._slots]
        self._observations = concatenate(self.single_observation_space, observations, self._observations)
        return deepcopy(self._observations) if self.copy else self._observations

    def _hand_out(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            slot.is_ready = False

    def _check_nothing_is_owed(self, slots: Sequence[Slot]) -> None:
        owing = [slot.number for slot in slots if slot.owes is not None]
        if owing:
            raise UsageError(f"The slots {owing} have a step under way; recv gets what comes of it")

    def _check_not_closed(self) -> None:
        if self.closed:
            raise ClosedError(f"The vector environment at {self.endpoint} was closed; make a new one")

    def __repr__(self) -> str:
        return f"RemoteVectorEnv({self.endpoint.base_url!r}, num_envs={self.num_envs})"


def _results_of(slots: Sequence[Slot]) -> tuple[Any, Any, Any]:
    return (
        np.array([slot.reward for slot in slots], np.float64),
        np.array([slot.terminated for slot in slots], np.bool_),
        np.array([slot.truncated for slot in slots], np.bool_),
    )
