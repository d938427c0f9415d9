"""How slots are spread over channels, with servers that only exist in the test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from openenv_gym.errors import (
    CapacityError,
    EndpointUnreachableError,
    OpenEnvError,
    RemoteError,
    SessionLostError,
)
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.reconnect import ReconnectBudget
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.vector import partition as module
from openenv_gym.vector.partition import Partition
from openenv_gym.wire.v2 import Ticket

ONE, TWO = Endpoint.parse("http://one:1"), Endpoint.parse("http://two:2")


class Connection:
    def __init__(self, endpoint: Endpoint, worker: tuple[int, int] = (0, 1), *, is_v2: bool = True) -> None:
        self.endpoint, self.worker, self.is_v2 = endpoint, worker, is_v2
        self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True

    hang_up = drop


class Channel:
    """Opens sessions, until it is told not to."""

    error: OpenEnvError | None = None

    def __init__(self, connection: Connection, *arguments: Any, **keywords: Any) -> None:
        self.connection = connection
        self.slots: set[int] = set()
        self.is_open = True

    async def open(self, slots: Sequence[int], ticket: Ticket | None = None) -> None:
        if self.error is not None:
            raise self.error
        self.slots.update(slots)

    async def states(self, slots: Sequence[int]) -> list[Any]:
        return [f"{self.connection.endpoint.base_url} {slot}" for slot in slots]

    async def close(self) -> None:
        self.is_open = False


class Transport:
    """Connects to the workers of each server in turn."""

    def __init__(self) -> None:
        self.workers = {ONE: 1, TWO: 1}
        self.connects = 0
        self.down: set[Endpoint] = set()

    async def connect(self, endpoint: Endpoint, *, timeout_s: float, offers_v2: bool = True) -> Connection:
        if endpoint in self.down:
            raise EndpointUnreachableError("down")
        self.connects += 1
        count = self.workers[endpoint]
        return Connection(endpoint, (self.connects % count, count), is_v2=offers_v2)


class Pool:
    """Chooses the first server that may be chosen, for as many sessions as it has."""

    def __init__(self) -> None:
        self.free: dict[Endpoint, float] = {ONE: math.inf, TWO: math.inf}
        self.forgotten: list[Endpoint] = []

    def place(self, count: int, *, without: Mapping[Endpoint, OpenEnvError]) -> list[tuple[Endpoint, int]]:
        for endpoint, free in self.free.items():
            if endpoint not in without:
                return [(endpoint, int(min(free, count)))]
        raise next(iter(without.values()))

    def forget(self, endpoint: Endpoint) -> None:
        self.forgotten.append(endpoint)

    def too_few(self, count: int, available: int) -> CapacityError:
        return CapacityError("too few", available=available)


class World:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.pool, self.transport = Pool(), Transport()
        patch.setattr(module, "V2Channel", Channel)
        patch.setattr(module, "V1Channel", Channel)
        patch.setattr(module, "BlockingTransport", lambda: self.transport)

    def partition(self, count: int, *, speaks_v2: bool = True) -> Partition:
        return Partition(
            count,
            self.pool,  # type: ignore[arg-type]
            Timeouts(),
            speaks_v2=speaks_v2,
            autoreset="disabled",
            max_episode_steps=None,
            budget=ReconnectBudget(),
        )

    def opened(self, *shares: tuple[Endpoint, int], speaks_v2: bool = True) -> Partition:
        partition = self.partition(sum(share for _, share in shares), speaks_v2=speaks_v2)
        placed = [(Connection(one, (0, self.transport.workers[one])), share) for one, share in shares]
        partition.open_all(placed, None)  # type: ignore[arg-type]
        return partition


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def slots_of(partition: Partition) -> list[tuple[str, list[int]]]:
    return [(part.endpoint.base_url, part.slots) for part in partition.parts]


def test_each_server_gets_its_share(world: World) -> None:
    assert slots_of(world.opened((ONE, 3), (TWO, 2))) == [
        ("http://one:1", [0, 1, 2]),
        ("http://two:2", [3, 4]),
    ]


def test_each_process_of_a_server_gets_a_channel(world: World) -> None:
    world.transport.workers[ONE] = 3
    partition = world.opened((ONE, 7))
    assert sorted(part.slots for part in partition.parts) == [[0, 1, 2], [3, 4], [5, 6]]
    assert {part.channel.connection.worker[0] for part in partition.parts} == {0, 1, 2}


def test_over_version_1_each_slot_has_a_channel(world: World) -> None:
    assert [part.slots for part in world.opened((ONE, 3), speaks_v2=False).parts] == [[0], [1], [2]]


def test_shares_keep_the_places_of_the_request(world: World) -> None:
    partition = world.opened((ONE, 2), (TWO, 2))
    shares = partition.shares([3, 0, 2])
    assert [(share.part.endpoint, share.slots, list(share.places)) for share in shares] == [
        (TWO, [3, 2], [0, 2]),
        (ONE, [0], [1]),
    ]
    assert [list(share.places) for share in partition.shares([0, 1, 2, 3])] == [[0, 1], [2, 3]]
    assert partition.shares([]) == []


def test_states_are_in_the_order_of_the_slots(world: World) -> None:
    assert world.opened((ONE, 1), (TWO, 1)).states() == ["http://one:1 0", "http://two:2 1"]


def test_a_lost_channels_slots_move_to_another_server(world: World) -> None:
    partition = world.opened((ONE, 2), (TWO, 1))
    lost = partition.parts[0]
    lost.channel.is_open = False  # type: ignore[misc]
    assert partition.open_missing([0, 1], without={ONE: SessionLostError("lost")}) == []
    assert slots_of(partition) == [("http://two:2", [0, 1, 2])]


def test_a_lost_server_that_is_back_gets_its_slots_back(world: World) -> None:
    partition = world.opened((ONE, 2))
    partition.parts[0].channel.is_open = False  # type: ignore[misc]
    assert partition.open_missing([0, 1], without={}) == []
    assert slots_of(partition) == [("http://one:1", [0, 1])]
    assert partition.parts[0].channel.is_open


def test_a_closed_session_opens_again_on_its_own_channel(world: World) -> None:
    partition = world.opened((ONE, 3))
    channel = partition.parts[0].channel
    channel.slots.remove(1)
    assert partition.open_missing([1], without={}) == []
    assert channel.slots == {0, 1, 2}
    assert world.transport.connects == 0


def test_a_server_that_cannot_be_reached_is_passed_over_and_forgotten(world: World) -> None:
    partition = world.opened((TWO, 2))
    partition.parts[0].channel.is_open = False  # type: ignore[misc]
    world.transport.down = {ONE}
    assert partition.open_missing([0, 1], without={}) == []
    assert slots_of(partition) == [("http://two:2", [0, 1])]
    assert world.pool.forgotten == [ONE]


def test_slots_without_a_free_session_are_on_no_channel(world: World) -> None:
    partition = world.opened((ONE, 3))
    partition.parts[0].channel.is_open = False  # type: ignore[misc]
    world.pool.free = {ONE: 2}
    (unopened,) = partition.open_missing([0, 1, 2], without={})
    assert unopened.slots == [2]
    assert isinstance(unopened.error, CapacityError)
    assert slots_of(partition) == [("http://one:1", [0, 1])]
    assert [share.slots for share in partition.shares([2, 0])] == [[0]]


def test_an_environment_that_cannot_be_made_is_the_slots_own_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = world.opened((ONE, 2))
    partition.parts[0].channel.slots.remove(0)
    monkeypatch.setattr(Channel, "error", RemoteError("cannot be made"))
    (unopened,) = partition.open_missing([0], without={})
    assert (unopened.slots, str(unopened.error)) == ([0], "cannot be made")


def test_channels_without_slots_are_closed(world: World) -> None:
    partition = world.opened((ONE, 1), (TWO, 1))
    first = partition.parts[0].channel
    first.slots.clear()
    first.is_open = False  # type: ignore[misc]
    partition.open_missing([0], without={ONE: SessionLostError("lost")})
    assert len(partition.parts) == 1
    partition.close()
    assert not partition.parts[0].channel.is_open
