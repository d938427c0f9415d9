"""Sessions over version 2 of the protocol: all slots of a lane in one frame each way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from openenv_gym.env_spaces import EnvSpaces, observation_misfit
from openenv_gym.errors import EndpointError, OpenEnvError, RemoteError, SpaceError
from openenv_gym.losses import LOSSES
from openenv_gym.metrics import Times
from openenv_gym.remote import RESET_TRIES
from openenv_gym.spaces.columns import column_of, select
from openenv_gym.transport.capacity import Turn
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.lane import Lane
from openenv_gym.transport.old_connection import Connection
from openenv_gym.transport.returning import Leeway, may_be_asked_again
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.vector.batch import Batch
from openenv_gym.vector.fleet import Failure, Mask, Policy, Source, named
from openenv_gym.vector.servers import Servers
from openenv_gym.vector.shards import Shard, Shards
from openenv_gym.wire import v2

_AUTORESET: dict[AutoresetMode, v2.Autoreset] = {
    AutoresetMode.NEXT_STEP: "next_step",
    AutoresetMode.SAME_STEP: "same_step",
    AutoresetMode.DISABLED: "disabled",
}

# How long the ways back to several servers are looked for, where episodes may be lost.
_MOST_AWAY_S = 3.0


class _Beginning(NamedTuple):
    """A reset that a slot was asked for and has not answered yet."""

    seed: int | None
    options: dict[str, Any]
    tries: int = RESET_TRIES


class _Waiting(NamedTuple):
    """Slots for whose sessions there is no room yet, and when to ask again."""

    slots: list[int]
    turn: Turn


class LaneFleet:
    """The slots, in as many lanes as the servers have processes.

    Args:
        placed: An open connection to each server, and how many of the slots it gets.
        servers: Where sessions go to that are opened later.
        connect: Opens another connection to a server, in so many seconds at most.
        interface: The servers' spaces and codecs.
        batch: Where the results are written.
        policy: What happens at the end of an episode, and when a session is lost.
        timeouts: How long to wait.

    Raises:
        CapacityError: A server has not as many free sessions.
    """

    def __init__(
        self,
        placed: Sequence[tuple[Connection, int]],
        servers: Servers,
        connect: Callable[[Endpoint, float], Connection],
        interface: EnvSpaces,
        batch: Batch,
        policy: Policy,
        timeouts: Timeouts,
    ) -> None:
        self.batch = batch
        self.failures: list[Failure] = []
        self.times: list[tuple[Any, Times]] = []
        self._servers = servers
        self._actions = column_of(interface.action)
        self._policy = policy
        # What the batch's memory may be views of: the connection receives into other memory meanwhile.
        self._held = memoryview(b"")
        self._beginning: dict[int, _Beginning] = {}
        self._waiting: list[_Waiting] = []
        self._without_episode: set[int] = set()  # slots whose session was lost, until a reset
        self._last: dict[int, tuple[Any, dict[str, Any]]] = {}  # how an episode ended that is begun anew now
        self._shards = Shards(
            batch.count,
            servers,
            connect,
            timeouts,
            autoreset=_AUTORESET[policy.autoreset_mode],
            max_episode_steps=policy.max_episode_steps,
            # The slots of the other servers stand still meanwhile; those of this one may begin anew there.
            leeway=Leeway(_MOST_AWAY_S if policy.truncates and servers.are_several else math.inf),
        )
        try:
            self._shards.open_all(placed)
        except Exception:
            self.close()
            raise

    def ask_reset(self, slots: list[int], seeds: Sequence[int | None], options: dict[str, Any]) -> None:
        self.batch.ask(slots)
        for slot, seed in zip(slots, seeds, strict=True):
            self._beginning[slot] = _Beginning(seed, options)
        self._begin(slots)

    def ask_step(self, slots: list[int], actions: Any, *, together: bool) -> None:
        self.batch.ask(slots)
        column = self._actions.from_batch(actions, len(slots))
        to_begin: list[int] = []
        if self._without_episode:
            to_begin, places = self._see_to_lost(slots)
            slots, column = [slots[place] for place in places], select(column, places) if places else column
        for shard, mine, its_places in self._shards.spread(slots):
            request = v2.Step(
                id=shard.lane.next_id(),
                slots=mine,
                actions=column if len(mine) == len(slots) else select(column, its_places),
                min_ready=0 if together else 1,
            )
            self._send(shard, request, "step")
        # Last, as new sessions take their time: the others step meanwhile.
        self._begin_anew(to_begin)

    def sources(self, slots: Mask) -> list[Source]:
        answers = [
            Source(
                shard.slots,
                None if shard.lane.has_early else shard.lane.connection,
                partial(self._read, shard),
                late_at=shard.lane.late_at(is_reset=bool(self._beginning)),
                expire=partial(self._expire, shard),
            )
            for shard in self._shards.each
            if slots[shard.rows].any()
        ]
        return answers + [
            Source(waiting.slots, None, partial(self._ask_again, waiting), waiting.turn.due_at)
            for waiting in self._waiting
            if slots[waiting.slots].any()
        ]

    def give_up_lost(self, slots: Mask) -> None:
        for shard in self._shards.each:
            if not shard.lane.is_open:
                # Those of which nothing was asked are truncated when something is.
                truncates, owes = self._policy.truncates, self.batch.owes
                lost = [slot for slot in shard.slots if slots[slot] and (owes[slot] or not truncates)]
                self.batch.fail(lost, is_lost=True)

    def drop(self, slots: Sequence[int]) -> None:
        for shard, _, _ in self._shards.spread(slots):
            shard.lane.give_up()
        self._waiting = [waiting for waiting in self._waiting if not set(waiting.slots).intersection(slots)]
        self._forget(slots)

    def states(self) -> list[Any]:
        return self._shards.values(lambda number, slots: v2.GetState(id=number, slots=slots), "state")

    def render(self) -> list[Any]:
        return self._shards.values(lambda number, slots: v2.Render(id=number, slots=slots), "render")

    def close(self) -> None:
        self._waiting.clear()
        self._shards.close()

    # --- beginning ------------------------------------------------------------------------------------

    def _begin(self, slots: Sequence[int], turn: Turn | None = None) -> None:
        """Asks for the episodes that some slots are to begin, in new sessions where they have none.

        Those for whom there is no room wait for their turn, while the others go on. What hinders it is noted.
        """
        failed: set[int] = set()
        for without, error in self._shards.open_missing(slots):
            failed.update(without)
            turn = turn or Turn(self._policy.capacity_timeout_s)
            if turn.goes_on(error):
                self._waiting.append(_Waiting(without, turn))
            else:
                self._note(error, without, is_lost=True)
        for shard, mine, _ in self._shards.spread([slot for slot in slots if slot not in failed]):
            by_options: dict[int, list[int]] = {}
            for slot in mine:
                by_options.setdefault(id(self._beginning[slot].options), []).append(slot)
            for alike in by_options.values():
                request = v2.Reset(
                    id=shard.lane.next_id(),
                    slots=alike,
                    seeds=[self._beginning[slot].seed for slot in alike],
                    options=self._beginning[alike[0]].options,
                )
                self._send(shard, request, "reset")

    def _begin_anew(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._beginning[slot] = _Beginning(None, {})
        if slots:
            self._begin(slots)

    def _ask_again(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        self._begin(waiting.slots, waiting.turn)

    def _see_to_lost(self, slots: Sequence[int]) -> tuple[list[int], list[int]]:
        """Sees to the slots whose sessions were lost.

        Where the caller knows already that the episode was cut short, the next one is to begin; where not, it
        is told now.

        Returns:
            The slots whose next episode is to begin, and the places of those that lost nothing.
        """
        untold: list[int] = []
        to_begin: list[int] = []
        others: list[int] = []
        for place, slot in enumerate(slots):
            if slot not in self._without_episode:
                others.append(place)
            elif self._policy.autoreset_mode is AutoresetMode.NEXT_STEP and (
                self.batch.truncated[slot] or self.batch.terminated[slot]
            ):
                to_begin.append(slot)
            else:
                untold.append(slot)
        self._cut_short(untold, "the session was lost while nothing was asked of it")
        return to_begin, others

    # --- sending and reading --------------------------------------------------------------------------

    def _send(self, shard: Shard, request: v2.Reset | v2.Step, kind: str) -> None:
        what = shard.asked = self._what(request.slots, kind)
        try:
            shard.lane.send(request, what)
        except EndpointError as error:
            if shard.lane.is_open:
                self._note(error, request.slots, is_lost=False)
            else:
                self._lose_lane(shard, error)

    def _read(self, shard: Shard) -> None:
        """Reads one answer."""
        lane = shard.lane
        is_reset = bool(self._beginning)
        try:
            result = lane.result(shard.asked, is_reset=is_reset)
        except EndpointError as error:
            self._lose_lane(shard, error)
        except RemoteError as error:
            slots = lane.refused if lane.is_open else shard.slots
            begins = any(slot in self._beginning for slot in slots)
            self._note(error, slots, is_lost=begins or not lane.is_open)
        else:
            self._take(lane, result)

    def _expire(self, shard: Shard) -> None:
        self._lose_lane(shard, shard.lane.expire(shard.asked, is_reset=bool(self._beginning)))

    def _take(self, lane: Lane, result: v2.Result) -> None:
        batch, slots = self.batch, result.slots
        is_reset = bool(self._beginning) and bool(slots) and slots[0] in self._beginning
        if slots:
            rows = batch.rows(slots)
            try:
                if isinstance(rows, slice) and not isinstance(result.observations, list):
                    batch.memory = batch.column.write_zero_copy(result.observations, batch.memory)
                    self._held = lane.connection.exchange_memory(self._held)
                else:
                    batch.column.write(result.observations, batch.memory, rows)
                batch.rewards[rows] = result.rewards
                batch.terminated[rows] = False if result.terminated is None else result.terminated
                batch.truncated[rows] = False if result.truncated is None else result.truncated
                self._take_infos(result)
            except (SpaceError, ValueError, TypeError, IndexError) as misfit:
                what = self._what(slots, "reset" if is_reset else "step")
                self._note(observation_misfit(lane.connection.endpoint, what, misfit), slots, is_lost=True)
            else:
                if is_reset:
                    self._note_begun(slots)
                else:
                    environment_us = np.asarray(result.environment_us, np.float64)
                    times = Times(lane.sent_at, lane.received_at, result.server_us, environment_us)
                    self.times.append((rows, times))
                batch.is_ready[rows], batch.has_episode[rows], batch.owes[rows] = True, True, False
        for refused in result.errors:
            slot = refused.slot
            begins = slot in self._beginning
            error = lane.slot_error(refused, self._what([slot], "reset" if begins else "step"))
            if slot in lane.slots or begins:
                self._note(error, [slot], is_lost=begins)
            else:
                self._lose([slot], error)

    def _take_infos(self, result: v2.Result) -> None:
        for place, info in result.infos:
            self.batch.infos[result.slots[place]] = info
        if result.final is None:
            return
        for row, (place, info) in enumerate(zip(result.final.places, result.final.infos, strict=True)):
            observation = self.batch.column.element(result.final.observations, row)
            self.batch.note_final(result.slots[place], observation, info)

    def _note_begun(self, slots: Iterable[int]) -> None:
        """Notes that episodes have begun."""
        for slot in slots:
            self._beginning.pop(slot, None)
            self._without_episode.discard(slot)
            if (last := self._last.pop(slot, None)) is not None:
                self.batch.truncated[slot] = True
                self.batch.note_final(slot, *last)

    # --- losing ---------------------------------------------------------------------------------------

    def _lose_lane(self, shard: Shard, error: EndpointError) -> None:
        """All sessions of a lane are gone. Where an episode was to begin anyway, it begins in a new one."""
        self._servers.forget(shard.endpoint)
        share = list(shard.slots)
        for slot in share:
            if slot not in self._beginning and self._is_resetting_itself(slot):
                self._beginning[slot] = _Beginning(None, {})
        begins = [slot for slot in share if slot in self._beginning]
        if others := [slot for slot in share if slot not in self._beginning]:
            self._lose(others, error)
        tries = min((self._beginning[slot].tries for slot in begins), default=0)
        if tries > 1 and (self._policy.truncates or may_be_asked_again(error)):
            for slot in begins:
                self._beginning[slot] = self._beginning[slot]._replace(tries=tries - 1)
            self._begin(begins)
        elif begins:
            self._note(error, begins, is_lost=True)

    def _is_resetting_itself(self, slot: int) -> bool:
        """Whether the step that is under way is a reset, as the slot's episode had ended."""
        batch = self.batch
        has_ended = bool(batch.terminated[slot] or batch.truncated[slot])
        return has_ended and bool(batch.owes[slot]) and self._policy.autoreset_mode is AutoresetMode.NEXT_STEP

    def _lose(self, slots: Sequence[int], error: OpenEnvError) -> None:
        """The sessions of some slots are gone: that is an error, or the end of their episodes."""
        if not self._policy.truncates or not isinstance(error, LOSSES):
            self._note(error, slots, is_lost=True)
            return
        self._without_episode.update(slot for slot in slots if self.batch.has_episode[slot])
        self._cut_short([slot for slot in slots if self.batch.owes[slot]], error.message)

    def _cut_short(self, slots: Sequence[int], reason: str) -> None:
        """Truncates the episodes of some slots, and begins the next ones where that is the same step."""
        batch = self.batch
        info = {"session_lost": reason}
        if slots and self._policy.autoreset_mode is AutoresetMode.SAME_STEP:
            for slot in slots:
                self._last[slot] = batch.last_observation(slot), info
            self._begin_anew(slots)
            return
        for slot in slots:
            batch.rewards[slot], batch.terminated[slot], batch.truncated[slot] = 0.0, False, True
            batch.infos[slot] = dict(info)
            batch.is_ready[slot], batch.owes[slot] = True, False

    def _note(self, error: Exception, slots: Sequence[int], *, is_lost: bool) -> None:
        """Notes a failure; where an episode was to begin, none will."""
        self.failures.append(Failure(error, slots))
        self.batch.fail(slots, is_lost=is_lost)
        self._forget(slots)

    def _forget(self, slots: Sequence[int]) -> None:
        """Forgets which episodes were to begin."""
        for slot in slots:
            self._beginning.pop(slot, None)
            self._last.pop(slot, None)

    def _what(self, slots: Sequence[int], kind: str) -> str:
        """A request's name, for messages."""
        if len(slots) > 1:
            return f"the {kind} of {named(slots)}"
        which = f"step {self.batch.metrics.steps[slots[0]] + 1}" if kind == "step" else "the reset"
        return f"{which} of {named(slots)}"
