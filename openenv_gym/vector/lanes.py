"""Sessions over version 2 of the protocol: all slots of a lane in one frame each way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from openenv_gym.errors import EndpointError, RemoteError, SpaceError
from openenv_gym.interface import Interface, does_not_fit
from openenv_gym.metrics import Times
from openenv_gym.spaces.columns import column_of, select
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.lane import Lane
from openenv_gym.vector.batch import Batch
from openenv_gym.vector.fleet import Source
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode

# How often to knock at a server of several processes, for each of them, until another one opens.
_KNOCKS = 8


class LaneFleet:
    """The slots, in as many lanes as the server has processes.

    Args:
        first: An open connection.
        connect: Opens another.
        interface: The server's spaces and codecs.
        batch: Where the results are written.
        autoreset: When a slot whose episode has ended is reset.
        max_episode_steps: Truncates episodes after as many steps.
        message_timeout_s: The time for each answer, in seconds.

    Raises:
        CapacityError: The server has not as many free sessions.
    """

    def __init__(
        self,
        first: Connection,
        connect: Callable[[], Connection],
        interface: Interface,
        batch: Batch,
        *,
        autoreset: v2.Autoreset,
        max_episode_steps: int | None,
        message_timeout_s: float,
    ) -> None:
        self.batch = batch
        self.failures: list[Exception] = []
        self.times: list[tuple[Any, Times]] = []
        self._connect = connect
        self._actions = column_of(interface.action)
        self._autoreset = autoreset
        self._max_episode_steps = max_episode_steps
        self._message_timeout_s = message_timeout_s
        self._is_resetting = False
        # What the batch's memory may be views of: the connection receives into other memory meanwhile.
        self._held = memoryview(b"")
        connections = _one_a_worker(first, connect, batch.count)
        self._shares = [share.tolist() for share in np.array_split(np.arange(batch.count), len(connections))]
        self._asked = [""] * len(connections)
        self._lanes = [Lane(connection, message_timeout_s=message_timeout_s) for connection in connections]
        try:
            for lane, share in zip(self._lanes, self._shares, strict=True):
                self._open(lane, share)
        except Exception:
            self.close()
            raise

    def ask_reset(self, slots: list[int], seeds: Sequence[int | None], options: dict[str, Any]) -> None:
        self._is_resetting = True
        self.batch.ask(slots)
        for index, mine, places in self._spread(slots):
            if not self._lanes[index].is_open and not self._reopen(index, mine):
                continue
            lane = self._lanes[index]
            request = v2.Reset(
                id=lane.next_id(), slots=mine, seeds=[seeds[place] for place in places], options=options
            )
            self._send(index, request)

    def ask_step(self, slots: list[int], actions: Any, *, together: bool) -> None:
        self._is_resetting = False
        self.batch.ask(slots)
        column = self._actions.from_batch(actions, len(slots))
        for index, mine, places in self._spread(slots):
            lane = self._lanes[index]
            request = v2.Step(
                id=lane.next_id(),
                slots=mine,
                actions=column if len(mine) == len(slots) else select(column, places),
                min_ready=0 if together else 1,
            )
            self._send(index, request)

    def sources(self) -> list[Source]:
        owes = self.batch.owes
        return [
            Source(self._lanes[index].connection, partial(self._read, index))
            for index, share in enumerate(self._shares)
            if owes[share[0] : share[-1] + 1].any()
        ]

    def give_up_lost(self) -> None:
        for lane, share in zip(self._lanes, self._shares, strict=True):
            if not lane.is_open:
                self.batch.fail(share, is_lost=True)

    def states(self) -> list[Any]:
        return self._values(v2.GetState, "state")

    def render(self) -> list[Any]:
        return self._values(v2.Render, "render")

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()

    def _open(self, lane: Lane, share: Sequence[int]) -> None:
        lane.open(share, autoreset=self._autoreset, max_episode_steps=self._max_episode_steps)

    def _reopen(self, index: int, asked: Sequence[int]) -> bool:
        """Opens a lane that was lost; what hinders it is noted."""
        try:
            lane = Lane(self._connect(), message_timeout_s=self._message_timeout_s)
            self._open(lane, self._shares[index])
        except (EndpointError, RemoteError) as error:
            self._note(error, asked, is_lost=True)
            return False
        self._lanes[index] = lane
        return True

    def _spread(self, slots: list[int]) -> list[tuple[int, list[int], Sequence[int]]]:
        """The lanes of some slots: each lane's place, its slots, and where those stand among all."""
        if len(self._lanes) == 1:
            return [(0, slots, range(len(slots)))]
        spread: list[tuple[int, list[int], Sequence[int]]] = []
        for index, share in enumerate(self._shares):
            places = [place for place, slot in enumerate(slots) if share[0] <= slot <= share[-1]]
            if places:
                spread.append((index, [slots[place] for place in places], places))
        return spread

    def _send(self, index: int, request: v2.Reset | v2.Step) -> None:
        lane = self._lanes[index]
        what = self._asked[index] = self._what(request.slots)
        try:
            lane.send(request, what)
        except EndpointError as error:
            self._note(
                error, request.slots if lane.is_open else self._shares[index], is_lost=not lane.is_open
            )

    def _read(self, index: int) -> None:
        """Reads one answer."""
        lane, share = self._lanes[index], self._shares[index]
        try:
            result = lane.result(self._asked[index])
        except EndpointError as error:
            self._note(error, share, is_lost=True)
        except RemoteError as error:
            asked = [slot for slot in share if self.batch.owes[slot]] if lane.is_open else share
            self._note(error, asked, is_lost=self._is_resetting or not lane.is_open)
        else:
            self._take(lane, result)

    def _take(self, lane: Lane, result: v2.Result) -> None:
        batch, slots = self.batch, result.slots
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
                self._note(
                    does_not_fit(lane.connection.endpoint, self._what(slots), misfit), slots, is_lost=True
                )
                return
            batch.owes[rows], batch.is_ready[rows], batch.has_episode[rows] = False, True, True
            if not self._is_resetting:
                environment_us = np.asarray(result.environment_us, np.float64)
                times = Times(lane.sent_at, lane.received_at, result.server_us, environment_us)
                self.times.append((rows, times))
        for refused in result.errors:
            is_lost = self._is_resetting or refused.code == ErrorCode.UNKNOWN_SESSION
            error = lane.error_of(refused, self._what([refused.slot]))
            self._note(error, [refused.slot], is_lost=is_lost)

    def _take_infos(self, result: v2.Result) -> None:
        for place, info in result.infos:
            self.batch.infos[result.slots[place]] = info
        if result.final is None:
            return
        for row, (place, info) in enumerate(zip(result.final.places, result.final.infos, strict=True)):
            observation = self.batch.column.row(result.final.observations, row)
            self.batch.note_final(result.slots[place], observation, info)

    def _values(self, kind: type[v2.GetState] | type[v2.Render], what: str) -> list[Any]:
        values: list[Any] = []
        for lane, share in zip(self._lanes, self._shares, strict=True):
            values.extend(lane.values(kind(id=lane.next_id(), slots=share), what))
        return values

    def _note(self, error: Exception, slots: Sequence[int], *, is_lost: bool) -> None:
        self.failures.append(error)
        self.batch.fail(slots, is_lost=is_lost)

    def _what(self, slots: Sequence[int]) -> str:
        """A request's name, for messages."""
        if len(slots) > 1:
            return f"{len(slots)} slots from {slots[0]} on, {'reset' if self._is_resetting else 'step'}"
        step = "reset" if self._is_resetting else f"step {self.batch.metrics.steps[slots[0]] + 1}"
        return f"slot {slots[0]}, {step}"


def _one_a_worker(first: Connection, connect: Callable[[], Connection], most: int) -> list[Connection]:
    """A connection to each of the server's processes, as far as they can be met, and ``most`` at most."""
    worker, count = first.worker
    found = {worker: first}
    for _ in range(_KNOCKS * count):
        if len(found) >= min(count, most):
            break
        connection = connect()
        if connection.worker[0] in found:
            connection.drop()
        else:
            found[connection.worker[0]] = connection
    return list(found.values())
