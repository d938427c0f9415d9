"""The servers behind a vector environment, and which of them new sessions go to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from gymnasium import logger

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    OpenEnvError,
)
from openenv_gym.session.channel import Timeouts
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.credentials import Credentials
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Capacity, Schemas, get_capacity, get_schemas
from openenv_gym.wire import v1

# One address, several, or a function that returns the current ones: servers may be replaced.
Addresses = str | Sequence[str] | Callable[[], Sequence[str]]

# A slower server is a poor choice for a session, and all slots wait for its answer, so it is not asked again
# for a while.
_ANSWER_TIMEOUT_S = 2.0
_AVOIDED_S = 10.0
_MOST_THREADS = 32

T = TypeVar("T")
ItemT = TypeVar("ItemT")


class Survey(NamedTuple):
    """What servers answered about their free sessions.

    Attributes:
        capacities: The sessions on those that answered; None if one does not say.
        away: Those that did not answer.
        is_complete: Whether no other server can be added.
    """

    capacities: Mapping[Endpoint, Capacity | None]
    away: Sequence[Endpoint]
    is_complete: bool

    @property
    def in_all(self) -> int | None:
        """The sessions of those that answered, free or not; None if one does not say."""
        told = [capacity.total for capacity in self.capacities.values() if capacity is not None]
        return sum(told) if told and len(told) == len(self.capacities) else None

    def never_has(self, count: int) -> bool:
        """Whether waiting for so many sessions is pointless."""
        in_all = self.in_all
        return in_all is not None and count > in_all and self.is_complete and not self.away


_NO_SURVEY = Survey({}, (), is_complete=False)


class ServerPool:
    """Servers of one environment.

    Args:
        addresses: Their base URLs; a function is called for them whenever sessions are to be opened.
        connect_timeout_s: The time for each to send its schemas, in seconds.
        api_key: As in `RemoteEnv`, like the two that follow.
        headers: As in `RemoteEnv`.
        ca_file: As in `RemoteEnv`.
        is_direct: Whether no proxy is used for them.

    Raises:
        ConfigurationError: The list is empty, or a base URL is malformed.

    Attributes:
        first: The first one that answered `read_schemas`.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        connect_timeout_s: float,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
        is_direct: bool = False,
    ) -> None:
        self._addresses = addresses
        self._is_direct = is_direct
        self._known: dict[str, Endpoint] = {}  # kept for their cookies
        self._timeout_s = connect_timeout_s
        self._credentials = Credentials.of(api_key, headers, ca_file)
        self._schemas: Schemas = {}, {}
        self._same: set[Endpoint] = set()  # those whose schemas are known to equal the first one's
        self._avoided_until: dict[Endpoint, float] = {}
        self._survey = _NO_SURVEY
        self._last: list[Endpoint] = []
        self.first: Endpoint = self.endpoints()[0]

    def endpoints(self) -> list[Endpoint]:
        """Return the current servers."""
        found = self._addresses() if callable(self._addresses) else self._addresses
        urls = [found] if isinstance(found, str) else list(found)
        endpoints = list(dict.fromkeys(map(self._endpoint, urls)))
        if not endpoints:
            raise ConfigurationError("The list of base URLs is empty; name at least one server")
        self._last = endpoints
        return endpoints

    def _endpoint(self, url: str) -> Endpoint:
        endpoint = Endpoint.parse(url, api_key="", is_direct=self._is_direct)
        return self._known.setdefault(endpoint.base_url, replace(endpoint, credentials=self._credentials))

    @property
    def are_several(self) -> bool:
        """Whether slots can move to another server if one is lost."""
        return len(self.endpoints()) > 1

    def read_schemas(self) -> Schemas:
        """Ask all servers for their schemas, each once, and check that they are the same.

        Servers that do not answer are left out with a warning if another one does. Once they are back, they
        get sessions like any other.

        Raises:
            ConfigurationError: Two differ; the message names both.
            EndpointUnreachableError: No server answers.
            EndpointError: One answers something else.
        """
        endpoints = self.endpoints()
        answers = dict(zip(endpoints, for_each(self._try_schemas, endpoints), strict=True))
        errors = {url: answer for url, answer in answers.items() if isinstance(answer, EndpointError)}
        found = {url: answer for url, answer in answers.items() if not isinstance(answer, EndpointError)}
        if not found:
            raise _none_answers(list(errors.values())) if len(errors) > 1 else next(iter(errors.values()))
        self.first, self._schemas = next(iter(found.items()))
        for endpoint, schemas in found.items():
            self._compare(endpoint, schemas)
        if errors:
            logger.warn(
                f"{len(errors)} of the {len(endpoints)} servers do not answer, and get no sessions until "
                f"they do: {', '.join(map(str, errors))}"
            )
        return self._schemas

    def connect(self, count: int, timeouts: Timeouts) -> list[tuple[Connection, int]]:
        """Divide slots among the servers, and connect to each; one that cannot be connected to is skipped.

        Returns:
            A connection to each server that gets slots, and how many it gets.

        Raises:
            CapacityError: They have too few free sessions.
            ConfigurationError: They speak different versions of the protocol.
            EndpointError: None can be connected to.
        """
        transport = BlockingTransport()

        def try_connect(endpoint: Endpoint) -> Connection | EndpointError:
            try:
                return run(transport.connect(endpoint, timeout_s=timeouts.connect_s))
            except EndpointError as error:
                return error

        failed: dict[Endpoint, OpenEnvError] = {}
        while True:
            shares = self.place_all(count, without=failed)
            found = for_each(try_connect, [endpoint for endpoint, _ in shares])
            placed: list[tuple[Connection, int]] = []
            for (endpoint, share), connection in zip(shares, found, strict=True):
                if isinstance(connection, EndpointError):
                    failed[endpoint] = connection
                else:
                    placed.append((connection, share))
            if len(placed) == len(shares):
                _check_one_version([connection for connection, _ in placed])
                return placed
            for connection, _ in placed:
                _release(connection)

    def forget(self, endpoint: Endpoint) -> None:
        """Note that a connection to a server was lost: another one may come back at its address."""
        self._same.discard(endpoint)

    def place(
        self, count: int, *, without: Mapping[Endpoint, OpenEnvError] = MappingProxyType({})
    ) -> list[tuple[Endpoint, int]]:
        """Choose servers for new sessions, in proportion to their free sessions.

        A single server is not asked first, since it refuses sessions that it does not have. Each of several
        gets 2 s to answer; a slower one is not asked again for 10 s, unless no other answers.

        Args:
            count: The number of sessions.
            without: Servers that cannot open any, and why.

        Returns:
            Shares with a sum of ``count``, or less if fewer sessions are free.

        Raises:
            EndpointUnreachableError: No server answers.
            ConfigurationError: A server's schemas differ from the others'.
            OpenEnvError: No server is left, or none that answers: one of the reasons in ``without``.
        """
        every = self.endpoints()
        if len(every) == 1 and not without:
            self._survey = _NO_SURVEY
            return [(every[0], count)]
        endpoints = [endpoint for endpoint in every if endpoint not in without]
        # This reason is worth a retry later.
        full = next((reason for reason in without.values() if isinstance(reason, CapacityError)), None)
        if not endpoints:
            raise full or list(without.values())[-1]
        now = time.monotonic()
        avoided = [endpoint for endpoint in endpoints if self._avoided_until.get(endpoint, 0.0) > now]
        others = [endpoint for endpoint in endpoints if endpoint not in avoided]
        errors: list[EndpointError] = []
        capacities = self._ask_capacities(others, errors) or self._ask_capacities(avoided, errors)
        if not capacities:
            raise full or _none_answers(errors)
        away = [
            url for url in every if url not in capacities and not isinstance(without.get(url), CapacityError)
        ]
        self._survey = Survey(capacities, away, is_complete=not without and not callable(self._addresses))
        # A server that does not say counts as the emptiest, without a limit.
        plenty = max(count, *(capacity.free for capacity in capacities.values() if capacity is not None), 0)
        shares = in_proportion(
            count, [plenty if capacity is None else capacity.free for capacity in capacities.values()]
        )
        return [(endpoint, share) for endpoint, share in zip(capacities, shares, strict=True) if share]

    def place_all(
        self, count: int, *, without: Mapping[Endpoint, OpenEnvError] = MappingProxyType({})
    ) -> list[tuple[Endpoint, int]]:
        """Like `place`, but fail unless all sessions can be placed.

        Raises:
            CapacityError: Too few are free; and what `place` raises.
        """
        placed = self.place(count, without=without)
        available = sum(share for _, share in placed)
        if available < count:
            raise self.too_few(count, available)
        return placed

    def never_have(self, count: int) -> bool:
        """Whether the servers have fewer sessions in all; asks a single one now, which `place` does not."""
        endpoints = self.endpoints()
        if len(endpoints) == 1:
            capacities = self._ask_capacities(endpoints, [])
            self._survey = Survey(capacities, (), is_complete=not callable(self._addresses))
        return self._survey.never_has(count)

    def too_few(self, count: int, available: int) -> CapacityError:
        """Return the error for too few free sessions, from the servers' last answers.

        Args:
            count: How many sessions were requested.
            available: How many are free.
        """
        servers = f"{self} {'have' if self.are_several else 'has'}"
        survey, in_all = self._survey, self._survey.in_all
        context: dict[str, Any] = {
            "asked_for": count,
            "available": available,
            "endpoint": self.first.base_url,
        }
        if survey.never_has(count):
            return CapacityError(
                f"{servers} {in_all} session{'s' * (in_all != 1)} in all, and {count} were requested.",
                in_all=in_all,
                advice=f"Serve more, as with `openenv-gym serve --max-sessions {count}`, or name more "
                "servers.",
                **context,
            )
        if survey.away:
            why = f"{' and '.join(map(str, survey.away))} did not answer."
            if in_all is not None:
                why += f" The others have {in_all} sessions in all."
        elif in_all is not None and in_all < count:
            why = f"The total is {in_all} now."
        else:
            why = "The others are in use."
        return CapacityError(f"{servers} {available} of the {count} requested sessions. {why}", **context)

    def _ask_capacities(
        self, endpoints: Sequence[Endpoint], errors: list[EndpointError]
    ) -> dict[Endpoint, Capacity | None]:
        """The sessions of each server that answers; the others' errors are appended."""
        capacities: dict[Endpoint, Capacity | None] = {}
        for endpoint, answer in zip(endpoints, for_each(self._capacity, endpoints), strict=True):
            if isinstance(answer, EndpointError):
                errors.append(answer)
            else:
                capacities[endpoint] = answer
        return capacities

    def _try_schemas(self, endpoint: Endpoint) -> Schemas | EndpointError:
        try:
            return get_schemas(endpoint, timeout_s=self._timeout_s)
        except EndpointUnreachableError as error:
            return error
        except DeadlineExceededError as error:
            self._avoid(endpoint)
            return error

    def _capacity(self, endpoint: Endpoint) -> Capacity | EndpointError | None:
        until = time.monotonic() + min(self._timeout_s, _ANSWER_TIMEOUT_S)
        try:
            if endpoint not in self._same:
                self._compare(endpoint, get_schemas(endpoint, timeout_s=until - time.monotonic()))
            return get_capacity(endpoint, timeout_s=max(until - time.monotonic(), 1e-3))
        except EndpointError as error:
            if isinstance(error, DeadlineExceededError):
                self._avoid(endpoint)
            return error

    def _avoid(self, endpoint: Endpoint) -> None:
        self._avoided_until[endpoint] = time.monotonic() + _AVOIDED_S

    def _compare(self, endpoint: Endpoint, schemas: Schemas) -> None:
        if schemas != self._schemas:
            raise ConfigurationError(
                f"{self.first} and {endpoint} serve different environments: their schemas of action and "
                "observation differ. A vector environment needs the same one on all its servers"
            )
        self._same.add(endpoint)

    def __str__(self) -> str:
        others = len(self._last) - 1
        return f"{self.first} and {others} other{'s' if others > 1 else ''}" if others else str(self.first)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has the current addresses, or else the last; a function stays with the original."""
        try:
            endpoints = self.endpoints()
        except (
            Exception
        ):  # the user's function may raise anything, for example after its provider has stopped
            endpoints = self._last
        urls = [endpoint.base_url for endpoint in endpoints]
        return {**self.__dict__, "_addresses": urls, "_avoided_until": {}}  # times of this machine


def _none_answers(errors: Sequence[EndpointError]) -> EndpointUnreachableError:
    """The error if no server answers, or none but those that were tried before."""
    which = f"None of the {len(errors)} servers" if len(errors) > 1 else "No other server"
    first = errors[0]
    error = EndpointUnreachableError(
        f"{which} answers. {first.message}", advice=first.advice, endpoint=first.endpoint
    )
    error.__cause__ = first.__cause__
    return error


def _check_one_version(connections: Sequence[Connection]) -> None:
    versions = {connection.is_v2: connection.endpoint for connection in connections}
    if len(versions) > 1:
        for connection in connections:
            _release(connection)
        raise ConfigurationError(
            f"{versions[True]} speaks version 2 of the protocol and {versions[False]} version 1 only; the "
            "servers of one vector environment must speak one version.",
            advice="Serve all of them with one release.",
        )


def _release(connection: Connection) -> None:
    """Close an unused connection; over version 1 it is a session, whose end is waited for."""
    if connection.is_v2:
        connection.hang_up()
    else:
        run(connection.close(v1.encode_close()))


def in_proportion(count: int, free: Sequence[int]) -> list[int]:
    """Divide a count in proportion to what is free; no share is larger than that.

    By the largest remainder: https://en.wikipedia.org/wiki/Quota_method.

    Example:
        >>> in_proportion(10, [64, 64, 64])
        [4, 3, 3]
    """
    total = sum(free)
    if count >= total:
        return list(free)
    shares = [count * part // total for part in free]
    remainders = sorted(range(len(free)), key=lambda place: -(count * free[place] % total))
    for place in remainders[: count - sum(shares)]:
        shares[place] += 1
    return shares


def for_each(call: Callable[[ItemT], T], items: Sequence[ItemT]) -> list[T]:
    """Call for all items at the same time; the first error is raised when all have finished."""
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(min(len(items), _MOST_THREADS), "openenv-pool") as pool:
        return list(pool.map(call, items))
