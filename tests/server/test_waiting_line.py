"""`WaitingLine`: who gets free sessions."""

from __future__ import annotations

import pytest
from openenv_server.sessions import waiting_line
from openenv_server.sessions.waiting_line import (
    FORGET_S,
    MOST_WAITING,
    Position,
    SessionsRequest,
    WaitingLine,
)

from openenv_gym.wire.v2 import Ticket
from tests.support.scripted import Clock


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting_line, "time", clock)
    return clock


class Server:
    """A line and the number of free sessions, of eight."""

    def __init__(self, free: int = 0) -> None:
        self.line = WaitingLine()
        self.free = free

    def ask(self, name: str = "", count: int = 1, *, wait_s: float = 60.0) -> Position:
        """A request with a ticket of that name, or without one."""
        request = SessionsRequest(count, Ticket(name, wait_s) if name else None)
        position = self.line.ask(request, self.free, 8)
        self.free -= count * position.is_admitted
        return position


def test_who_was_refused_first_is_admitted_first() -> None:
    server = Server()
    assert [server.ask(name).before for name in "abc"] == [0, 1, 2]
    assert [server.ask(name).before for name in "cba"] == [2, 1, 0]
    server.free = 2
    assert not server.ask().is_admitted
    assert not server.ask("c").is_admitted
    assert server.ask("b") == Position(is_admitted=True, before=1, free=1, is_in_line=False)
    assert server.ask("a").is_admitted
    server.free = 2
    assert server.ask().is_admitted  # one is left for whoever comes
    assert not server.ask().is_admitted
    assert server.ask("c").is_admitted


def test_free_sessions_are_kept_until_they_are_enough_for_the_first_in_line() -> None:
    server = Server(free=3)
    assert server.ask("vector", 8) == Position(is_admitted=False, before=0, free=3, is_in_line=True)
    assert server.ask("single") == Position(is_admitted=False, before=1, free=0, is_in_line=True)
    server.free = 8
    assert not server.ask("single").is_admitted
    assert server.ask("vector", 8).is_admitted


def test_clients_that_do_not_ask_again_are_forgotten(clock: Clock) -> None:
    server = Server()
    server.ask("a"), server.ask("b")
    clock.now += FORGET_S / 2
    server.ask("b")
    server.free = 1
    assert not server.ask().is_admitted
    clock.now += FORGET_S / 2
    assert len(server.line) == 1
    assert server.ask("b").is_admitted
    assert len(server.line) == 0


def test_a_client_that_asks_for_the_last_time_leaves_the_line() -> None:
    server = Server()
    server.ask("a"), server.ask("b")
    assert not server.ask("a", wait_s=0.0).is_in_line
    server.free = 1
    assert server.ask("b").is_admitted


def test_a_client_that_gave_up_without_a_last_attempt_is_soon_forgotten(clock: Clock) -> None:
    server = Server()
    server.ask("a", wait_s=0.5)
    clock.now += 0.6
    assert server.ask().before == 1
    clock.now += 0.2
    assert server.ask().before == 0


def test_nobody_waits_for_more_sessions_than_the_server_has() -> None:
    server = Server(free=8)
    assert not server.ask("a", 9).is_in_line
    assert server.ask().is_admitted


def test_the_line_is_bounded() -> None:
    server = Server()
    for number in range(3 * MOST_WAITING):
        server.ask(str(number))
    assert len(server.line) == MOST_WAITING
    assert server.ask("late") == Position(False, MOST_WAITING, 0, is_in_line=False)
    assert server.ask("7").before == 7
