"""From servers to a fleet: the version of the protocol that they speak, and their shares of the slots."""

from __future__ import annotations

from openenv_gym.errors import ConfigurationError
from openenv_gym.interface import Interface
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.session import Session
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.vector.batch import Batch
from openenv_gym.vector.fleet import Fleet, Policy
from openenv_gym.vector.lanes import LaneFleet
from openenv_gym.vector.servers import Servers
from openenv_gym.vector.slots import SocketFleet
from openenv_gym.wire import v1


def connect_fleet(
    servers: Servers, interface: Interface, batch: Batch, policy: Policy, timeouts: Timeouts
) -> Fleet:
    """Connects to all servers, and divides the slots of a batch among them.

    Raises:
        CapacityError: They have not as many free sessions. None was kept.
        ConfigurationError: They speak different versions of the protocol.
        EndpointError: One cannot be connected to.
    """

    def connect(endpoint: Endpoint, timeout_s: float) -> Connection:
        return Connection(endpoint, connect_timeout_s=timeout_s, offers_v2=True)

    connections: dict[Endpoint, Connection] = {}
    try:
        for endpoint in servers.endpoints():
            connections[endpoint] = connect(endpoint, timeouts.connect_s)
            servers.note_workers(endpoint, connections[endpoint].worker[1])
        is_v2 = _speak_v2(connections)
        # In version 1, a connection is a session.
        shares = servers.place_all(batch.count, holds_one=not is_v2)
        placed = [(connections[endpoint], share) for endpoint, share in shares]
        for connection in set(connections.values()).difference(connection for connection, _ in placed):
            _let_go(connection)
        if is_v2:
            return LaneFleet(placed, servers, connect, interface, batch, policy, timeouts)
        sessions = [
            Session(connection.endpoint, timeouts, connection if place == 0 else None)
            for connection, share in placed
            for place in range(share)
        ]
        return SocketFleet(sessions, servers, interface, batch, policy)
    except BaseException:
        for connection in connections.values():
            _let_go(connection)
        raise


def _let_go(connection: Connection) -> None:
    """Closes a connection; in version 1 it is a session, whose end is waited for."""
    if connection.is_v2:
        connection.hang_up()
    else:
        connection.close(v1.CLOSE_REQUEST)


def _speak_v2(connections: dict[Endpoint, Connection]) -> bool:
    versions = {connection.is_v2: endpoint for endpoint, connection in connections.items()}
    if len(versions) > 1:
        raise ConfigurationError(
            f"{versions[True]} speaks version 2 of the protocol and {versions[False]} version 1 only; "
            "the servers of one vector environment speak one version. Serve all of them with one release"
        )
    return versions.popitem()[0]
