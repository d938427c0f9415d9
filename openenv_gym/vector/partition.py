"""The partition of a vector environment's slots over channels: to each server, and each of its processes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    EndpointError,
    OpenEnvError,
    RemoteError,
)
from openenv_gym.session.channel import Channel, Timeouts
from openenv_gym.session.reconnect import CONNECT_PAUSE_S, CONNECTS_A_WORKER, ReconnectBudget
from openenv_gym.session.v1 import V1Channel
from openenv_gym.session.v2 import V2Channel
from openenv_gym.spaces.columns import Rows
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.vector.server_pool import ServerPool, for_each
from openenv_gym.wire import v2


class Part:
    """A channel and the slots on it.

    Attributes:
        channel: The channel; when it is closed, the sessions of its slots are lost.
        slots: The slots, ascending.
        rows: The same, as NumPy indexes them fastest.
        operation: The last request's name, for errors.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.operation = ""
        self.slots: list[int] = []
        self.rows: Rows = np.empty(0, np.int64)

    def set_slots(self, slots: Iterable[int]) -> None:
        """Change which slots are on the channel."""
        self.slots = sorted(slots)
        self.rows = np.array(self.slots, np.int64)

    @property
    def endpoint(self) -> Endpoint:
        """The server."""
        return self.channel.connection.endpoint


class Share(NamedTuple):
    """Some of a part's slots, and their places among all slots of a request."""

    part: Part
    slots: list[int]
    places: Sequence[int]


class Unopened(NamedTuple):
    """Slots that got no session, and why."""

    slots: list[int]
    error: OpenEnvError


class Partition:
    """Assigns slots to channels, and opens sessions for them.

    Over version 2 of the protocol, each process of each server has one channel; over version 1, each slot has
    one.

    Args:
        count: The number of slots.
        pool: The servers.
        speaks_v2: Whether the servers speak version 2.
        timeouts: How long to wait.
        autoreset: When the server resets a slot whose episode has ended.
        max_episode_steps: Truncates episodes after so many steps.
        budget: The time for reconnecting to lost servers.

    Attributes:
        parts: The channels that have slots.
        whole: The only channel, if all slots are on it.
    """

    def __init__(
        self,
        count: int,
        pool: ServerPool,
        timeouts: Timeouts,
        *,
        speaks_v2: bool,
        autoreset: v2.Autoreset,
        max_episode_steps: int | None,
        budget: ReconnectBudget,
    ) -> None:
        self.parts: list[Part] = []
        self.whole: Part | None = None
        self._pool = pool
        self._timeouts = timeouts
        self._speaks_v2 = speaks_v2
        self._autoreset = autoreset
        self._max_episode_steps = max_episode_steps
        self._budget = budget
        self._transport = BlockingTransport()
        self._all = list(range(count))
        self._part_of: list[Part | None] = [None] * count

    def open_all(self, placed: Sequence[tuple[Connection, int]], ticket: v2.Ticket | None) -> None:
        """Open sessions for all slots, on all servers at the same time.

        Args:
            placed: An open connection to each server, and how many slots it gets.
            ticket: The place in line, if they wait for free sessions.

        Raises:
            CapacityError: A server has too few free sessions.
        """
        begin = 0
        for first, share in placed:
            connections = (
                self._one_per_worker(first, share) if self._speaks_v2 else self._one_per_slot(first, share)
            )
            slots = np.arange(begin, begin + share)
            for connection, mine in zip(connections, np.array_split(slots, len(connections)), strict=True):
                self._assign(mine.tolist(), Part(self._channel(connection)))
            begin += share
        for_each(lambda part: run(part.channel.open(part.slots, ticket)), self.parts)

    def shares(self, slots: Sequence[int]) -> list[Share]:
        """Split slots by channel; those without one are left out."""
        if slots == self._all:
            return [Share(part, part.slots, part.slots) for part in self.parts]
        places: dict[Part, list[int]] = {}
        for place, slot in enumerate(slots):
            if (part := self._part_of[slot]) is not None:
                places.setdefault(part, []).append(place)
        return [Share(part, [slots[place] for place in mine], mine) for part, mine in places.items()]

    def open_missing(
        self,
        slots: Sequence[int],
        *,
        without: Mapping[Endpoint, OpenEnvError],
        ticket: v2.Ticket | None = None,
    ) -> list[Unopened]:
        """Open a session for each slot that has none: on its channel, or on any server with a free session.

        Args:
            slots: The slots.
            without: Servers that cannot open any, and why.
            ticket: Their place in line, if they wait for free sessions.

        Returns:
            The slots that got none; they are on no channel any more.
        """
        unopened: list[Unopened] = []
        closed: dict[Part, list[int]] = {}
        homeless: list[int] = []
        for slot in slots:
            part = self._part_of[slot]
            if part is None or not part.channel.is_open:
                homeless.append(slot)
            elif slot not in part.channel.slots:
                closed.setdefault(part, []).append(slot)
        for part, mine in closed.items():
            try:
                run(part.channel.open(mine, ticket))
            except (EndpointError, CapacityError):
                homeless = sorted({*homeless, *mine})
            except RemoteError as error:
                unopened.append(Unopened(mine, error))
        if homeless:
            unopened.extend(self._open_anywhere(homeless, dict(without), ticket))
        for mine, _ in unopened:
            self._assign(mine, None)
        return unopened

    def states(self) -> list[Any]:
        """Return the state of each slot."""
        return self._each([run(part.channel.states(part.slots)) for part in self.parts])

    def render(self) -> list[Any]:
        """Return the server's own picture of each slot."""
        return self._each([run(part.channel.render(part.slots)) for part in self.parts])

    def close(self) -> None:
        """End all sessions."""
        for part in self.parts:
            run(part.channel.close())

    def _each(self, values: Sequence[Sequence[Any]]) -> list[Any]:
        found: dict[int, Any] = {}
        for part, its_values in zip(self.parts, values, strict=True):
            found.update(zip(part.slots, its_values, strict=True))
        return [found.get(slot) for slot in self._all]

    def _open_anywhere(
        self, slots: list[int], failed: dict[Endpoint, OpenEnvError], ticket: v2.Ticket | None
    ) -> list[Unopened]:
        unopened: list[Unopened] = []
        while slots:
            try:
                placed = self._pool.place(len(slots), without=failed)
            except OpenEnvError as error:
                unopened.append(Unopened(slots, error))
                break
            elsewhere: list[int] = []
            begin = 0
            for endpoint, share in placed:
                mine = slots[begin : begin + share]
                begin += share
                for group in [mine] if self._speaks_v2 else [[slot] for slot in mine]:
                    if endpoint in failed:
                        elsewhere += group
                        continue
                    try:
                        part = self._part_at(endpoint)
                        run(part.channel.open(group, ticket))
                    except (EndpointError, CapacityError, ConfigurationError) as error:
                        if not isinstance(error, CapacityError):
                            self._pool.forget(endpoint)
                        failed[endpoint] = error
                        elsewhere += group
                    except RemoteError as error:
                        unopened.append(Unopened(group, error))
                    else:
                        self._assign(group, part)
            if begin < len(slots):
                unopened.append(Unopened(slots[begin:], self._pool.too_few(len(slots), begin)))
            slots = elsewhere
        return unopened

    def _part_at(self, endpoint: Endpoint) -> Part:
        """An open channel to a server: a new one to a process without, otherwise the one with fewest slots.

        Raises:
            ConfigurationError: The server now speaks version 1 only.
            EndpointError: It cannot be connected to.
        """
        here = [part for part in self.parts if part.channel.is_open and part.endpoint == endpoint]
        met = {part.channel.connection.worker[0] for part in here}
        if self._speaks_v2 and here and len(met) == here[0].channel.connection.worker[1]:
            return min(here, key=lambda part: len(part.slots))
        # The slots of the other servers wait meanwhile.
        timeout_s = min(self._timeouts.connect_s, self._budget.most_s)
        connection = self._connect(endpoint, timeout_s)
        if connection.is_v2 != self._speaks_v2:
            connection.hang_up()
            raise ConfigurationError(
                f"{endpoint} now speaks version 1 of the protocol only, and spoke version 2 before; the "
                "servers of one vector environment must speak one version.",
                advice="Serve all of them with one release.",
                endpoint=endpoint.base_url,
            )
        if not self._speaks_v2 or connection.worker[0] not in met:
            return Part(self._channel(connection))
        connection.drop()
        return min(here, key=lambda part: len(part.slots))

    def _connect(self, endpoint: Endpoint, timeout_s: float) -> Connection:
        return run(self._transport.connect(endpoint, timeout_s=timeout_s, offers_v2=self._speaks_v2))

    def _channel(self, connection: Connection) -> Channel:
        if not self._speaks_v2:
            return V1Channel(connection, self._timeouts)
        return V2Channel(
            connection,
            self._transport,
            self._timeouts,
            budget=self._budget,
            autoreset=self._autoreset,
            max_episode_steps=self._max_episode_steps,
        )

    def _assign(self, slots: Sequence[int], part: Part | None) -> None:
        """Move slots to a part, or to none; parts without slots are closed."""
        left = {old for slot in slots if (old := self._part_of[slot]) is not None and old is not part}
        for slot in slots:
            self._part_of[slot] = part
        for old in left:
            old.set_slots([slot for slot in old.slots if self._part_of[slot] is old])
            if not old.slots:
                self.parts.remove(old)
                run(old.channel.close())
        if part is not None:
            if part not in self.parts:
                self.parts.append(part)
            part.set_slots({*part.slots, *slots})
        is_whole = len(self.parts) == 1 and len(self.parts[0].slots) == len(self._all)
        self.whole = self.parts[0] if is_whole else None
        if self.whole is not None:
            self.whole.rows = slice(None)

    def _one_per_worker(self, first: Connection, most: int) -> list[Connection]:
        """Connect to each of the server's processes that accepts, ``most`` at most."""
        worker, count = first.worker
        found = {worker: first}
        for _ in range(CONNECTS_A_WORKER * count):
            if len(found) >= min(count, most):
                break
            connection = self._connect(first.endpoint, self._timeouts.connect_s)
            if connection.worker[0] in found:
                connection.drop()
                time.sleep(CONNECT_PAUSE_S)
            else:
                found[connection.worker[0]] = connection
        return list(found.values())

    def _one_per_slot(self, first: Connection, count: int) -> list[Connection]:
        """Open one connection per slot."""
        connections = [first]
        try:
            for _ in range(count - 1):
                connections.append(self._connect(first.endpoint, self._timeouts.connect_s))
        except BaseException:
            for connection in connections:
                connection.hang_up()
            raise
        return connections
