"""Sessions over version 2 of the protocol: all slots of a lane in one frame each way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from openenv_gym.errors import EndpointError, RemoteError, SpaceError
from openenv_gym.interface import Interface, does_not_fit
from openenv_gym.losses import LOSSES
from openenv_gym.metrics import Times
from openenv_gym.remote import RESET_TRIES
from openenv_gym.spaces.columns import column_of, select
from openenv_gym.transport.capacity import in_turn
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.lane import Lane
from openenv_gym.transport.returning import KNOCKS, may_be_asked_again
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.vector.batch import Batch
from openenv_gym.vector.fleet import Policy, Source
from openenv_gym.wire import v2

_AUTORESET: dict[AutoresetMode, v2.Autoreset] = {
    AutoresetMode.NEXT_STEP: "next_step",
    AutoresetMode.SAME_STEP: "same_step",
    AutoresetMode.DISABLED: "disabled",
}


class _Beginning(NamedTuple):
    """A reset that a slot was asked for and has not answered yet."""

    seed: int | None
    options: dict[str, Any]


class LaneFleet:
    """The slots, in as many lanes as the server has processes.

    Args:
        first: An open connection.
        connect: Opens another.
        interface: The server's spaces and codecs.
        batch: Where the results are written.
        policy: What happens at the end of an episode, and when a session is lost.
        timeouts: How long to wait.

    Raises:
        CapacityError: The server has not as many free sessions.
    """

    def __init__(
        self,
        first: Connection,
        connect: Callable[[], Connection],
        interface: Interface,
        batch: Batch,
        policy: Policy,
        timeouts: Timeouts,
    ) -> None:
        self.batch = batch
        self.failures: list[Exception] = []
        self.times: list[tuple[Any, Times]] = []
        self._connect = connect
        self._actions = column_of(interface.action)
        self._policy = policy
        self._timeouts = timeouts
        # What the batch's memory may be views of: the connection receives into other memory meanwhile.
        self._held = memoryview(b"")
        connections = _one_a_worker(first, connect, batch.count)
        self._shares = [share.tolist() for share in np.array_split(np.arange(batch.count), len(connections))]
        self._asked = [""] * len(connections)
        self._tries = [0] * len(connections)
        self._beginning: dict[int, _Beginning] = {}
        self._without_episode: set[int] = set()  # slots whose session was lost, until a reset
        self._last: dict[int, tuple[Any, dict[str, Any]]] = {}  # how an episode ended that is begun anew now
        self._lanes = [Lane(connection, connect, timeouts) for connection in connections]
        try:
            for lane, share in zip(self._lanes, self._shares, strict=True):
                self._open(lane, share)
        except Exception:
            self.close()
            raise

    def ask_reset(self, slots: list[int], seeds: Sequence[int | None], options: dict[str, Any]) -> None:
        self.batch.ask(slots)
        for slot, seed in zip(slots, seeds, strict=True):
            self._beginning[slot] = _Beginning(seed, options)
        for index, mine, _ in self._spread(slots):
            self._tries[index] = RESET_TRIES
            self._begin(index, mine)

    def ask_step(self, slots: list[int], actions: Any, *, together: bool) -> None:
        self.batch.ask(slots)
        column = self._actions.from_batch(actions, len(slots))
        if self._without_episode:
            places = self._begin_lost(slots)
            if not places:
                return
            slots, column = [slots[place] for place in places], select(column, places)
        for index, mine, its_places in self._spread(slots):
            lane = self._lanes[index]
            request = v2.Step(
                id=lane.next_id(),
                slots=mine,
                actions=column if len(mine) == len(slots) else select(column, its_places),
                min_ready=0 if together else 1,
            )
            self._send(index, request, "step")

    def sources(self) -> list[Source]:
        owes = self.batch.owes
        return [
            Source(
                None if self._lanes[index].has_early else self._lanes[index].connection,
                partial(self._read, index),
            )
            for index, share in enumerate(self._shares)
            if owes[share[0] : share[-1] + 1].any()
        ]

    def give_up_lost(self) -> None:
        for lane, share in zip(self._lanes, self._shares, strict=True):
            if not lane.is_open:
                # Those of which nothing was asked are truncated when something is.
                lost = [slot for slot in share if self.batch.owes[slot]] if self._policy.truncates else share
                self.batch.fail(lost, is_lost=True)

    def states(self) -> list[Any]:
        return self._values(v2.GetState, "state")

    def render(self) -> list[Any]:
        return self._values(v2.Render, "render")

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()

    # --- beginning ------------------------------------------------------------------------------------

    def _open(self, lane: Lane, slots: Sequence[int]) -> None:
        lane.open(
            slots,
            autoreset=_AUTORESET[self._policy.autoreset_mode],
            max_episode_steps=self._policy.max_episode_steps,
        )

    def _begin(self, index: int, slots: Sequence[int]) -> None:
        """Asks for the episodes that some slots of a lane are to begin, in new sessions where they have none.

        What hinders it is noted.
        """
        try:
            in_turn(partial(self._make_open, index, slots), self._policy.capacity_timeout_s)
        except (EndpointError, RemoteError) as error:
            self._note(error, slots, is_lost=True)
            return
        by_options: dict[int, list[int]] = {}
        for slot in slots:
            by_options.setdefault(id(self._beginning[slot].options), []).append(slot)
        for mine in by_options.values():
            request = v2.Reset(
                id=self._lanes[index].next_id(),
                slots=mine,
                seeds=[self._beginning[slot].seed for slot in mine],
                options=self._beginning[mine[0]].options,
            )
            self._send(index, request, "reset")

    def _make_open(self, index: int, slots: Sequence[int]) -> None:
        """Opens those of some slots of a lane that have no session."""
        if not self._lanes[index].is_open:
            self._lanes[index] = Lane(self._connect(), self._connect, self._timeouts)
        lane = self._lanes[index]
        if closed := [slot for slot in slots if slot not in lane.slots]:
            self._open(lane, closed)

    def _begin_lost(self, slots: Sequence[int]) -> list[int]:
        """Sees to the slots whose sessions were lost; the places of the others.

        Where the caller knows already that the episode was cut short, the next one begins; where not, it is
        told now.
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
        for slot in to_begin:
            self._beginning[slot] = _Beginning(None, {})
        for index, mine, _ in self._spread(to_begin):
            self._tries[index] = RESET_TRIES
            self._begin(index, mine)
        return others

    # --- sending and reading --------------------------------------------------------------------------

    def _spread(self, slots: Sequence[int]) -> list[tuple[int, list[int], Sequence[int]]]:
        """The lanes of some slots: each lane's place, its slots, and where those stand among all."""
        if not slots:
            return []
        if len(self._lanes) == 1:
            return [(0, list(slots), range(len(slots)))]
        spread: list[tuple[int, list[int], Sequence[int]]] = []
        for index, share in enumerate(self._shares):
            places = [place for place, slot in enumerate(slots) if share[0] <= slot <= share[-1]]
            if places:
                spread.append((index, [slots[place] for place in places], places))
        return spread

    def _send(self, index: int, request: v2.Reset | v2.Step, kind: str) -> None:
        lane = self._lanes[index]
        what = self._asked[index] = self._what(request.slots, kind)
        try:
            lane.send(request, what)
        except EndpointError as error:
            if lane.is_open:
                self._note(error, request.slots, is_lost=False)
            else:
                self._lose_lane(index, error)

    def _read(self, index: int) -> None:
        """Reads one answer."""
        lane, share = self._lanes[index], self._shares[index]
        is_reset = bool(self._beginning)
        try:
            result = lane.result(self._asked[index], is_reset=is_reset)
        except EndpointError as error:
            self._lose_lane(index, error)
        except RemoteError as error:
            self._note(error, lane.refused if lane.is_open else share, is_lost=is_reset or not lane.is_open)
        else:
            self._take(lane, result)

    def _take(self, lane: Lane, result: v2.Result) -> None:
        batch, slots = self.batch, result.slots
        is_reset = bool(self._beginning) and bool(slots) and slots[0] in self._beginning
        if slots:
            rows = batch.rows(slots)
            try:
                if isinstance(rows, slice) and not isinstance(result.observations, list):
                    batch.memory = batch.column.adopt(result.observations, batch.memory)
                    self._held = lane.connection.exchange_memory(self._held)
                else:
                    batch.column.write(result.observations, batch.memory, rows)
                batch.rewards[rows] = result.rewards
                batch.terminated[rows] = False if result.terminated is None else result.terminated
                batch.truncated[rows] = False if result.truncated is None else result.truncated
                self._take_infos(result)
            except (SpaceError, ValueError, TypeError, IndexError) as misfit:
                what = self._what(slots, "reset" if is_reset else "step")
                self._note(does_not_fit(lane.connection.endpoint, what, misfit), slots, is_lost=True)
            else:
                batch.owes[rows], batch.is_ready[rows], batch.has_episode[rows] = False, True, True
                if is_reset:
                    self._note_begun(slots)
                else:
                    environment_us = np.asarray(result.environment_us, np.float64)
                    times = Times(lane.sent_at, lane.received_at, result.server_us, environment_us)
                    self.times.append((rows, times))
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
            observation = self.batch.column.row(result.final.observations, row)
            self.batch.note_final(result.slots[place], observation, info)

    def _note_begun(self, slots: Iterable[int]) -> None:
        """Notes that episodes have begun."""
        for slot in slots:
            self._beginning.pop(slot, None)
            self._without_episode.discard(slot)
            if (last := self._last.pop(slot, None)) is not None:
                self.batch.truncated[slot] = True
                self.batch.note_final(slot, *last)

    def _values(self, kind: type[v2.GetState] | type[v2.Render], what: str) -> list[Any]:
        values: list[Any] = []
        for lane, share in zip(self._lanes, self._shares, strict=True):
            values.extend(lane.values(kind(id=lane.next_id(), slots=share), what))
        return values

    # --- losing ---------------------------------------------------------------------------------------

    def _lose_lane(self, index: int, error: EndpointError) -> None:
        """All sessions of a lane are gone. Where an episode was to begin anyway, it begins in a new one."""
        share = self._shares[index]
        begins = [slot for slot in share if slot in self._beginning]
        self._lose([slot for slot in share if slot not in self._beginning], error)
        if begins and self._tries[index] > 1 and may_be_asked_again(error):
            self._tries[index] -= 1
            self._begin(index, begins)
        elif begins:
            self._note(error, begins, is_lost=True)

    def _lose(self, slots: Sequence[int], error: Exception) -> None:
        """The sessions of some slots are gone: that is an error, or the end of their episodes."""
        if not self._policy.truncates or not isinstance(error, LOSSES):
            self._note(error, slots, is_lost=True)
            return
        self._without_episode.update(slot for slot in slots if self.batch.has_episode[slot])
        self._cut_short([slot for slot in slots if self.batch.owes[slot]], str(error))

    def _cut_short(self, slots: Sequence[int], reason: str) -> None:
        """Truncates the episodes of some slots, and begins the next ones where that is the same step."""
        batch = self.batch
        info = {"session_lost": reason}
        if slots and self._policy.autoreset_mode is AutoresetMode.SAME_STEP:
            for slot in slots:
                self._last[slot] = batch.last_observation(slot), info
                self._beginning[slot] = _Beginning(None, {})
            for index, mine, _ in self._spread(slots):
                self._tries[index] = RESET_TRIES
                self._begin(index, mine)
            return
        for slot in slots:
            batch.rewards[slot], batch.terminated[slot], batch.truncated[slot] = 0.0, False, True
            batch.infos[slot] = dict(info)
            batch.owes[slot], batch.is_ready[slot] = False, True

    def _note(self, error: Exception, slots: Sequence[int], *, is_lost: bool) -> None:
        """Notes a failure; where an episode was to begin, none will."""
        self.failures.append(error)
        self.batch.fail(slots, is_lost=is_lost)
        for slot in slots:
            self._beginning.pop(slot, None)
            self._last.pop(slot, None)

    def _what(self, slots: Sequence[int], kind: str) -> str:
        """A request's name, for messages."""
        if len(slots) > 1:
            return f"{len(slots)} slots from {slots[0]} on, {kind}"
        step = f" {self.batch.metrics.steps[slots[0]] + 1}" if kind == "step" else ""
        return f"slot {slots[0]}, {kind}{step}"


def _one_a_worker(first: Connection, connect: Callable[[], Connection], most: int) -> list[Connection]:
    """A connection to each of the server's processes, as far as they can be met, and ``most`` at most."""
    worker, count = first.worker
    found = {worker: first}
    for _ in range(KNOCKS * count):
        if len(found) >= min(count, most):
            break
        connection = connect()
        if connection.worker[0] in found:
            connection.drop()
        else:
            found[connection.worker[0]] = connection
    return list(found.values())
