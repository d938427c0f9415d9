"""Which lane each slot of a vector environment is on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    EndpointError,
    OpenEnvError,
    RemoteError,
)
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.lane import Lane
from openenv_gym.transport.old_connection import Connection
from openenv_gym.transport.returning import KNOCKS, Leeway
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.vector.servers import Servers
from openenv_gym.wire import v2


class Shard:
    """A lane, and the slots that are on it.

    Attributes:
        lane: The lane; where it is closed, the sessions of its slots are lost.
        slots: The slots, ascending.
        rows: The same as an array.
        asked: The last request's name, for messages.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.asked = ""
        self.slots: list[int] = []
        self.rows = np.empty(0, np.int64)

    def set_slots(self, slots: Iterable[int]) -> None:
        """Changes which slots are on it."""
        self.slots = sorted(slots)
        self.rows = np.array(self.slots, np.int64)

    @property
    def endpoint(self) -> Endpoint:
        """The server."""
        return self.lane.connection.endpoint


# A shard, some of its slots, and where those stand among all that were asked for.
Part = tuple[Shard, list[int], Sequence[int]]


class Shards:
    """The lanes to all servers: one to each of a server's processes.

    Args:
        count: The number of slots.
        servers: Where new sessions go to.
        connect: Opens a connection to a server, in so many seconds at most.
        timeouts: How long to wait.
        autoreset: When the server resets a slot whose episode has ended.
        max_episode_steps: Truncates episodes after as many steps.
        leeway: The time for the ways back to lost servers.

    Attributes:
        each: The shards that have slots.
    """

    def __init__(
        self,
        count: int,
        servers: Servers,
        connect: Callable[[Endpoint, float], Connection],
        timeouts: Timeouts,
        *,
        autoreset: v2.Autoreset,
        max_episode_steps: int | None,
        leeway: Leeway,
    ) -> None:
        self.each: list[Shard] = []
        self._servers = servers
        self._connect = connect
        self._timeouts = timeouts
        self._autoreset = autoreset
        self._max_episode_steps = max_episode_steps
        self._leeway = leeway
        self._all = list(range(count))
        self._of: list[Shard | None] = [None] * count

    def open_all(self, placed: Sequence[tuple[Connection, int]]) -> None:
        """Opens sessions for all slots, of all servers at the same time.

        Args:
            placed: An open connection to each server, and how many slots it gets.

        Raises:
            CapacityError: A server has not as many free sessions.
        """
        begin = 0
        for first, share in placed:
            connect = partial(self._connect, first.endpoint, self._timeouts.connect_s)
            connections = _one_a_worker(first, connect, share)
            slots = np.arange(begin, begin + share)
            for connection, part in zip(connections, np.array_split(slots, len(connections)), strict=True):
                self._assign(part.tolist(), Shard(self._lane(connection)))
            begin += share
        if len(self.each) == 1:
            self._open(self.each[0], self._all)
            return
        with ThreadPoolExecutor(len(self.each), "openenv-open") as pool:
            for _ in pool.map(lambda shard: self._open(shard, shard.slots), self.each):
                pass

    def spread(self, slots: Sequence[int]) -> list[Part]:
        """The shards of some slots that have one."""
        if not slots:
            return []
        if len(self.each) == 1 and self.each[0] is self._of[slots[0]]:
            return [(self.each[0], list(slots), range(len(slots)))]
        if slots == self._all:
            return [(shard, shard.slots, shard.slots) for shard in self.each]
        places: dict[Shard, list[int]] = {}
        for place, slot in enumerate(slots):
            if (shard := self._of[slot]) is not None:
                places.setdefault(shard, []).append(place)
        return [(shard, [slots[place] for place in mine], mine) for shard, mine in places.items()]

    def open_missing(self, slots: Sequence[int]) -> list[tuple[list[int], OpenEnvError]]:
        """Opens a session for each slot that has none: on its lane, or wherever there is room.

        Returns:
            The slots for which there is none, and why; they are on no shard any more.
        """
        failed: list[tuple[list[int], OpenEnvError]] = []
        closed: dict[Shard, list[int]] = {}
        homeless: list[int] = []
        for slot in slots:
            shard = self._of[slot]
            if shard is None or not shard.lane.is_open:
                homeless.append(slot)
            elif slot not in shard.lane.slots:
                closed.setdefault(shard, []).append(slot)
        for shard, mine in closed.items():
            try:
                self._open(shard, mine)
            except (EndpointError, CapacityError):
                homeless = sorted({*homeless, *mine})
            except RemoteError as error:
                failed.append((mine, error))
        if homeless:
            failed.extend(self._open_anywhere(homeless))
        for mine, _ in failed:
            self._assign(mine, None)
        return failed

    def values(self, make: Callable[[int, list[int]], v2.GetState | v2.Render], what: str) -> list[Any]:
        """Asks all lanes for something of each slot; ``make`` makes the request of an id and slots."""
        found: dict[int, Any] = {}
        for shard in self.each:
            request = make(shard.lane.next_id(), shard.slots)
            found.update(zip(shard.slots, shard.lane.values(request, what), strict=True))
        return [found.get(slot) for slot in self._all]

    def close(self) -> None:
        """Ends all sessions."""
        for shard in self.each:
            shard.lane.close()

    def _open_anywhere(self, slots: list[int]) -> list[tuple[list[int], OpenEnvError]]:
        failed: list[tuple[list[int], OpenEnvError]] = []
        in_vain: dict[Endpoint, OpenEnvError] = {}
        while slots:
            try:
                placed = self._servers.place(len(slots), without=in_vain)
            except OpenEnvError as error:
                failed.append((slots, error))
                break
            elsewhere: list[int] = []
            begin = 0
            for endpoint, share in placed:
                mine = slots[begin : begin + share]
                begin += share
                try:
                    shard = self._at(endpoint)
                    self._open(shard, mine)
                except (EndpointError, CapacityError, ConfigurationError) as error:
                    if not isinstance(error, CapacityError):
                        self._servers.forget(endpoint)
                    in_vain[endpoint] = error
                    elsewhere += mine
                except RemoteError as error:
                    failed.append((mine, error))
                else:
                    self._assign(mine, shard)
            if begin < len(slots):
                failed.append((slots[begin:], self._servers.too_few(len(slots), begin)))
            slots = elsewhere
        return failed

    def _at(self, endpoint: Endpoint) -> Shard:
        """An open lane to a server: another one where it has processes without, else the emptiest.

        Raises:
            ConfigurationError: The server that is there now speaks version 1 only.
            EndpointError: It cannot be connected to.
        """
        here = [shard for shard in self.each if shard.lane.is_open and shard.endpoint == endpoint]
        met = {shard.lane.connection.worker[0]: shard for shard in here}
        if not here or len(met) < here[0].lane.connection.worker[1]:
            # The slots of the other servers stand still meanwhile.
            connection = self._connect(endpoint, min(self._timeouts.connect_s, self._leeway.most_s))
            if not connection.is_v2:
                connection.hang_up()
                raise ConfigurationError(
                    f"{endpoint} speaks version 1 of the protocol only now, version 2 before; the servers of "
                    "one vector environment speak one version. Serve all of them with one release"
                )
            if connection.worker[0] not in met:
                return Shard(self._lane(connection))
            connection.drop()
        return min(here, key=lambda shard: len(shard.slots))

    def _lane(self, connection: Connection) -> Lane:
        return Lane(
            connection,
            partial(self._connect, connection.endpoint),
            self._timeouts,
            leeway=self._leeway,
        )

    def _open(self, shard: Shard, slots: Sequence[int]) -> None:
        shard.lane.open(slots, autoreset=self._autoreset, max_episode_steps=self._max_episode_steps)

    def _assign(self, slots: Sequence[int], shard: Shard | None) -> None:
        """Moves slots to a shard, or to none; shards without slots are let go of."""
        left = {old for slot in slots if (old := self._of[slot]) is not None and old is not shard}
        for slot in slots:
            self._of[slot] = shard
        for old in left:
            old.set_slots([slot for slot in old.slots if self._of[slot] is old])
            if not old.slots:
                self.each.remove(old)
                old.lane.close()
        if shard is not None:
            if shard not in self.each:
                self.each.append(shard)
            shard.set_slots({*shard.slots, *slots})


# After a process was met again: time for another one, which was busy, to take its turn.
_PAUSE_S = 0.005


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
            time.sleep(_PAUSE_S)
        else:
            found[connection.worker[0]] = connection
    return list(found.values())
