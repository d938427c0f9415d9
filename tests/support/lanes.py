"""Lanes, as a client opens them."""

from __future__ import annotations

from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.lane import Lane
from openenv_gym.transport.old_connection import Connection
from openenv_gym.transport.timeouts import Timeouts


def new_lane(base_url: str) -> Lane:
    """A lane without sessions."""

    def connect(timeout_s: float) -> Connection:
        return Connection(Endpoint(base_url), connect_timeout_s=timeout_s, offers_v2=True)

    connection = connect(5)
    assert connection.is_v2
    return Lane(connection, connect, Timeouts(5, 10, 10))
