"""From servers to a fleet: the version of the protocol that they speak, and their shares of the slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from openenv_gym.env_spaces import EnvSpaces
from openenv_gym.errors import ConfigurationError, EndpointError, OpenEnvError
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.session import Session
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.vector.batch import Batch
from openenv_gym.vector.fleet import Fleet, Policy
from openenv_gym.vector.lanes import LaneFleet
from openenv_gym.vector.servers import Servers, at_once
from openenv_gym.vector.slots import SocketFleet
from openenv_gym.wire import v1


def connect_fleet(
    servers: Servers, interface: EnvSpaces, batch: Batch, policy: Policy, timeouts: Timeouts
) -> Fleet:
    """Divides the slots of a batch among the servers, and connects to them.

    Raises:
        CapacityError: They have not as many free sessions. None was kept.
        ConfigurationError: They speak different versions of the protocol.
        EndpointError: None can be connected to.
    """

    def connect(endpoint: Endpoint, timeout_s: float) -> Connection:
        return Connection(endpoint, connect_timeout_s=timeout_s, offers_v2=True)

    placed = _connected(servers, batch.count, partial(connect, timeout_s=timeouts.connect_s))
    try:
        if _speak_v2([connection for connection, _ in placed]):
            return LaneFleet(placed, servers, connect, interface, batch, policy, timeouts)
        sessions = [
            Session(connection.endpoint, timeouts, connection if place == 0 else None)
            for connection, share in placed
            for place in range(share)
        ]
        return SocketFleet(sessions, servers, interface, batch, policy)
    except BaseException:
        for connection, _ in placed:
            _let_go(connection)
        raise


def _connected(
    servers: Servers, count: int, connect: Callable[[Endpoint], Connection]
) -> list[tuple[Connection, int]]:
    """A connection to each server that gets slots, and how many; one that has none is passed over."""

    def try_connect(endpoint: Endpoint) -> Connection | EndpointError:
        try:
            return connect(endpoint)
        except EndpointError as error:
            return error

    failed: dict[Endpoint, OpenEnvError] = {}
    while True:
        shares = servers.place_all(count, without=failed)
        found = at_once(try_connect, [endpoint for endpoint, _ in shares])
        placed: list[tuple[Connection, int]] = []
        for (endpoint, share), outcome in zip(shares, found, strict=True):
            if isinstance(outcome, EndpointError):
                failed[endpoint] = outcome
            else:
                placed.append((outcome, share))
        if len(placed) == len(shares):
            return placed
        for connection, _ in placed:
            _let_go(connection)


def _let_go(connection: Connection) -> None:
    """Closes a connection; in version 1 it is a session, whose end is waited for."""
    if connection.is_v2:
        connection.hang_up()
    else:
        connection.close(v1.CLOSE_REQUEST)


def _speak_v2(connections: Sequence[Connection]) -> bool:
    versions = {connection.is_v2: connection.endpoint for connection in connections}
    if len(versions) > 1:
        raise ConfigurationError(
            f"{versions[True]} speaks version 2 of the protocol and {versions[False]} version 1 only; "
            "the servers of one vector environment speak one version. Serve all of them with one release"
        )
    return versions.popitem()[0]
