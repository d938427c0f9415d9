"""`Backend`: slots that fail, are lost or wait, while the others are served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from openenv_gym.errors import (
    CapacityError,
    OpenEnvError,
    ProtocolError,
    RemoteEnvironmentError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.session.channel import Timeouts
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.vector.backend import Backend, EpisodeRules, named
from openenv_gym.vector.results import ResultBuffer
from openenv_gym.wire import v1, v2
from tests.support.scripted import Clock, Response, ScriptedConnection, ScriptedTransport, cut, env_spaces

NEXT_STEP, SAME_STEP, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


class Server:
    """Responds to all requests: each session counts its steps.

    Attributes:
        capacity: How many sessions it has.
        places: How many steps each session has taken.
        wrong: What slots observe instead.
        faults: What happens to the next steps: by slot an error code, or one for all to raise.
        reset_faults: The error codes of the next resets, by slot.
        opened: The slots of each `Open`.
        resets: The slots and seeds of each `Reset`.
    """

    def __init__(self) -> None:
        self.capacity = 8
        self.places: dict[int, int] = {}
        self.wrong: dict[int, Any] = {}
        self.faults: dict[int, str] | BaseException | None = None
        self.reset_faults: dict[int, str] = {}
        self.opened: list[list[int]] = []
        self.resets: list[tuple[list[int], list[int | None]]] = []
        self.connections: list[ScriptedConnection] = []

    def connect(self) -> ScriptedConnection:
        """A new connection, without a grace period: what is lost is lost."""
        self.places.clear()
        connection = ScriptedConnection(respond=self.respond)
        self.connections.append(connection)
        return connection

    def respond(self, request: Any) -> Iterable[Response]:
        match request:
            case v2.Open():
                free = self.capacity - len(self.places)
                slots, refused = request.slots[:free], request.slots[free:]
                self.opened.append(slots)
                self.places.update(dict.fromkeys(slots, 0))
                errors = [v2.SlotError(slot, "CAPACITY_REACHED", "full", {}) for slot in refused]
                yield v2.Opened(id=request.id, slots=slots, errors=errors)
            case v2.Reset():
                self.resets.append((request.slots, request.seeds or []))
                faults, self.reset_faults = self.reset_faults, {}
                done = [slot for slot in request.slots if slot not in faults]
                self.places.update(dict.fromkeys(done, 0))
                yield self.result(request.id, done, errors_of(faults))
            case v2.Step():
                faults, self.faults = self.faults, None
                if isinstance(faults, BaseException):
                    yield faults
                    return
                faults = faults or {}
                done = [slot for slot in request.slots if slot not in faults]
                for slot in done:
                    self.places[slot] += 1
                yield self.result(request.id, done, errors_of(faults))
            case v2.Close():
                for slot in request.slots:
                    self.places.pop(slot, None)
                yield v2.Closed(id=request.id, slots=request.slots)

    def result(self, number: int, slots: list[int], errors: Iterable[v2.SlotError] = ()) -> v2.Result:
        return v2.Result(
            id=number,
            slots=slots,
            observations=[{"place": self.wrong.get(slot, self.places[slot])} for slot in slots],
            rewards=[1.0] * len(slots),
            environment_us=[0.0] * len(slots),
            errors=list(errors),
        )


def errors_of(codes: Mapping[int, str]) -> list[v2.SlotError]:
    return [v2.SlotError(slot, code, "it failed", {}) for slot, code in codes.items()]


class Pool:
    """One server."""

    are_several = False

    def __init__(self, connect: Callable[[], ScriptedConnection]) -> None:
        self._connect = connect

    def connect(self, count: int, timeouts: Timeouts) -> list[tuple[ScriptedConnection, int]]:
        return [(self._connect(), count)]

    def place(self, count: int, *, without: Mapping[Endpoint, OpenEnvError]) -> list[tuple[Endpoint, int]]:
        if without:
            raise next(iter(without.values()))
        return [(Endpoint("http://server:8000"), count)]

    def forget(self, endpoint: Endpoint) -> None:
        pass


class World:
    """A backend of two slots over a server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.clock.patch(monkeypatch, "vector.backend", "session.recovery", "session.reconnect")
        monkeypatch.setattr(self.clock, "perf_counter", lambda: 0.0)
        self.server = Server()
        self.transport = ScriptedTransport(clock=self.clock)
        monkeypatch.setattr("openenv_gym.vector.partition.BlockingTransport", lambda: self.transport)
        self.explained: list[OpenEnvError] = []

    def begin(
        self,
        *,
        mode: AutoresetMode = NEXT_STEP,
        truncates: bool = False,
        capacity_timeout_s: float = 0.0,
        max_episode_steps: int | None = None,
        connect: Callable[[], ScriptedConnection] | None = None,
    ) -> Backend:
        spaces = env_spaces()
        self.results = ResultBuffer(spaces, 2)
        self.backend = Backend(
            Pool(connect or self.server.connect),  # type: ignore[arg-type]
            spaces,
            self.results,
            EpisodeRules(mode, max_episode_steps, truncates, capacity_timeout_s),
            Timeouts(),
            explain=self.explained.append,
        )
        self.backend.send_reset([0, 1], [5, 6], {})
        self.backend.collect()
        self.results.take_resets([0, 1], copy=True)
        return self.backend

    def step(self) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.backend.send_step([0, 1], np.zeros(2, np.int64), gather=True)
        self.backend.collect()
        return self.results.take_all(copy=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_slots_are_opened_reset_and_stepped_together(world: World) -> None:
    world.begin()
    assert world.server.opened == [[0, 1]]
    assert world.server.resets == [([0, 1], [5, 6])]
    observations, rewards, terminations, truncations, infos = world.step()
    assert observations.tolist() == [1, 1]
    assert rewards.tolist() == [1.0, 1.0]
    assert not (terminations.any())
    assert not (truncations.any())
    assert infos == {}


# --- one slot fails ---------------------------------------------------------------------------------------


def test_an_error_in_one_slot_is_raised_after_the_others_were_read(world: World) -> None:
    backend = world.begin()
    world.server.faults = {1: "EXECUTION_ERROR"}
    with pytest.raises(RemoteEnvironmentError, match="step 1 of slot 1") as caught:
        world.step()
    assert caught.value.slots == (1,)
    assert world.explained == [caught.value]
    assert world.results.ready.tolist() == [True, False]
    assert world.results.has_episode.tolist() == [True, True]  # the session continues
    assert not world.results.pending.any()
    assert backend.failures == []
    assert world.step()[0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("code", "kind"), [("TIMEOUT", StepTimeoutError), ("UNKNOWN_SESSION", SessionLostError)]
)
def test_a_session_that_is_lost_in_one_slot_needs_a_reset(world: World, code: str, kind: type) -> None:
    backend = world.begin()
    world.server.faults = {0: code}
    with pytest.raises(kind) as caught:
        world.step()
    assert caught.value.slots == (0,)
    assert world.results.has_episode.tolist() == [False, True]
    backend.send_reset([0], [7], {})
    backend.collect()
    assert world.server.opened == [[0, 1], [0]]
    assert world.server.resets[-1] == ([0], [7])
    assert world.step()[0].tolist() == [1, 2]


def test_a_session_that_is_lost_in_one_slot_truncates_its_episode_alone(world: World) -> None:
    world.begin(truncates=True)
    world.step()
    world.server.faults = {0: "TIMEOUT"}
    observations, rewards, _, truncations, infos = world.step()
    assert observations.tolist() == [1, 2]  # the last one that it had
    assert rewards.tolist() == [0.0, 1.0]
    assert truncations.tolist() == [True, False]
    assert infos["_session_lost"].tolist() == [True, False]
    observations, _, _, truncations, _ = world.step()
    assert observations.tolist() == [0, 3]
    assert not truncations.any()
    assert len(world.server.connections) == 1


# --- the connection is lost -------------------------------------------------------------------------------


def test_a_lost_connection_is_an_error_of_its_slots(world: World) -> None:
    backend = world.begin()
    world.server.faults = cut()
    with pytest.raises(SessionLostError) as caught:
        world.step()
    assert caught.value.slots == (0, 1)
    assert not (world.results.has_episode.any())
    assert not (world.results.pending.any())
    world.transport.expect(world.server.connect())
    backend.send_reset([0, 1], [1, 2], {})
    backend.collect()
    assert world.step()[0].tolist() == [1, 1]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_lost_connection_truncates_the_episodes(world: World, mode: AutoresetMode) -> None:
    backend = world.begin(mode=mode, truncates=True)
    world.step()
    world.server.faults = cut()
    world.transport.expect(world.server.connect())
    world.server.places.update({0: 1, 1: 1})
    observations, rewards, terminations, truncations, infos = world.step()
    assert truncations.tolist() == [True, True]
    assert not terminations.any()
    assert rewards.tolist() == [0.0, 0.0]
    if mode is SAME_STEP:
        assert observations.tolist() == [0, 0]
        assert infos["final_obs"].tolist() == [1, 1]
        assert infos["final_info"]["session_lost"].tolist() == ["The connection broke."] * 2
    else:
        assert observations.tolist() == [1, 1]
        assert infos["session_lost"].tolist() == ["The connection broke."] * 2
    if mode is NEXT_STEP:
        assert world.step()[0].tolist() == [0, 0]
    if mode is DISABLED:
        backend.send_reset([0, 1], [None, None], {})
        backend.collect()
    observations, _, _, truncations, infos = world.step()
    assert observations.tolist() == [1, 1]
    assert not truncations.any()
    assert infos == {}


def test_other_errors_do_not_truncate(world: World) -> None:
    world.begin(truncates=True)
    world.server.faults = {0: "EXECUTION_ERROR"}
    with pytest.raises(RemoteEnvironmentError):
        world.step()


# --- new sessions -----------------------------------------------------------------------------------------


def test_a_new_session_is_waited_for(world: World) -> None:
    world.begin(truncates=True, capacity_timeout_s=30.0)
    world.server.faults = cut()
    world.step()
    world.server.capacity = 0
    for _ in range(3):
        world.transport.expect(world.server.connect())
    sleep = world.clock.sleep

    def sleep_and_free(seconds: float) -> None:
        sleep(seconds)
        if world.clock.now > begin + 0.15:
            world.server.capacity = 8

    begin = world.clock.now
    world.clock.sleep = sleep_and_free  # type: ignore[method-assign]
    assert world.step()[0].tolist() == [0, 0]
    assert world.clock.now > begin + 0.1


def test_a_slot_whose_reset_timed_out_begins_again_in_a_new_session(world: World) -> None:
    backend = world.begin(truncates=True)
    world.server.reset_faults = {1: "TIMEOUT"}
    backend.send_reset([0, 1], [3, 4], {})
    backend.collect()
    assert world.server.opened == [[0, 1], [1]]
    assert world.server.resets[1:] == [([0, 1], [3, 4]), ([1], [4])]
    assert world.step()[0].tolist() == [1, 1]


def test_without_truncate_a_reset_that_timed_out_is_an_error_of_its_slot(world: World) -> None:
    backend = world.begin()
    world.server.reset_faults = {1: "TIMEOUT"}
    backend.send_reset([0, 1], [3, 4], {})
    with pytest.raises(StepTimeoutError) as caught:
        backend.collect()
    assert caught.value.slots == (1,)
    assert world.results.has_episode.tolist() == [True, False]


def test_slots_that_are_refused_are_counted_if_all_begin(world: World) -> None:
    world.server.capacity = 1
    with pytest.raises(CapacityError) as caught:
        world.begin()
    assert (caught.value.asked_for, caught.value.available) == (2, 1)
    assert all(not connection.is_open for connection in world.server.connections)


# --- interrupts -------------------------------------------------------------------------------------------


def test_an_interrupt_ends_the_sessions_whose_responses_were_not_read(world: World) -> None:
    backend = world.begin()
    world.server.faults = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.step()
    assert not world.server.connections[0].is_open
    assert not world.results.pending.any()
    with pytest.raises(SessionLostError, match="interrupt has ended the sessions of slots 0 and 1"):
        backend.raise_failures(np.ones(2, np.bool_))
    world.transport.expect(world.server.connect())
    backend.send_reset([0, 1], [1, 2], {})
    backend.collect()
    assert world.step()[0].tolist() == [1, 1]


def test_an_interrupt_while_sending_ends_the_sessions_too(world: World) -> None:
    world.begin()
    world.server.connections[0].breaks_send = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.step()
    assert not world.server.connections[0].is_open
    assert not world.results.pending.any()


# --- observations that do not fit -------------------------------------------------------------------------


def test_an_observation_that_does_not_fit_is_an_error_of_its_slots(world: World) -> None:
    world.begin()
    world.server.wrong[1] = "far"
    with pytest.raises(ProtocolError, match="does not fit the server's own schema") as caught:
        world.step()
    assert caught.value.slots == (0, 1)
    assert not world.results.pending.any()


# --- failures that wait to be raised ----------------------------------------------------------------------


def test_failures_are_raised_by_slot_and_forgotten(world: World) -> None:
    backend = world.begin()
    backend._note(OpenEnvError("first"), [0], is_lost=False)
    backend._note(OpenEnvError("second"), [1], is_lost=False)
    backend.raise_failures(np.array([False, False]))
    with pytest.raises(OpenEnvError, match="second"):
        backend.raise_failures(np.array([False, True]))
    backend.forget_failures(np.array([True, False]))
    backend.raise_failures(np.array([True, True]))


def test_a_lack_of_sessions_is_raised_first_with_the_number_of_refused_slots(world: World) -> None:
    backend = world.begin()
    backend._note(OpenEnvError("other"), [0], is_lost=False)
    for slot in (0, 1):
        backend._note(CapacityError("full"), [slot], is_lost=False)
    with pytest.raises(CapacityError) as caught:
        backend.raise_failures(np.ones(2, np.bool_))
    assert caught.value.refused == 2
    assert backend.failures == []


# --- version 1 --------------------------------------------------------------------------------------------


class OldConnection(ScriptedConnection):
    """A session of version 1 that counts its steps, and ends its episode at the second one."""

    def __init__(self) -> None:
        super().__init__(is_v2=False)
        self.place = 0
        self.ends_at = 2

    async def send(self, message: Any, *, timeout_s: float, operation: str) -> None:
        await super().send(message, timeout_s=timeout_s, operation=operation)
        kind = json.loads(message)["type"]
        if kind in ("reset", "step"):
            self.place = self.place + 1 if kind == "step" else 0
            data = {"observation": {"place": self.place}, "reward": 1.0, "done": self.place == self.ends_at}
            self.expect(v1.encode_observation(json.dumps(data)))


@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_of_version_1_end_as_those_of_version_2(world: World, mode: AutoresetMode) -> None:
    """The server neither resets slots nor counts steps."""
    first, second = OldConnection(), OldConnection()
    second.ends_at = 99
    world.transport.expect(second)
    backend = world.begin(mode=mode, max_episode_steps=3, connect=lambda: first)
    assert world.step()[0].tolist() == [1, 1]
    observations, _, terminations, truncations, infos = world.step()
    assert (terminations.tolist(), truncations.tolist()) == ([True, False], [False, False])
    if mode is SAME_STEP:
        assert observations.tolist() == [0, 2]
        assert infos["final_obs"].tolist() == [2, None]
        expected = [1, 0]  # the other slot is truncated, and begins again in the same step
    else:
        assert observations.tolist() == [2, 2]
        expected = [0, 3]
    if mode is DISABLED:
        backend.send_reset([0], [None], {})
        backend.collect()
        expected = [1, 3]
    observations, _, terminations, truncations, infos = world.step()
    assert observations.tolist() == expected
    assert (terminations.tolist(), truncations.tolist()) == ([False, False], [False, True])
    if mode is SAME_STEP:
        assert infos["final_obs"].tolist() == [None, 3]


@pytest.mark.parametrize(
    ("slots", "name"),
    [
        ([3], "slot 3"),
        ([3, 9], "slots 3 and 9"),
        ([3, 4, 5], "slots 3 to 5"),
        ([3, 5, 6, 8], "slots 3, 5 and 2 more"),
    ],
)
def test_slots_are_named_briefly(slots: list[int], name: str) -> None:
    assert named(slots) == name
