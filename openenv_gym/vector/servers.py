"""The servers behind a vector environment, and which of them new sessions go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from openenv_gym.errors import ConfigurationError, EndpointError, EndpointUnreachableError, OpenEnvError
from openenv_gym.transport.credentials import Credentials
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json, get_schemas
from openenv_gym.transport.refusals import capacity_error

# One address, several, or what tells the present ones: servers may be replaced.
Addresses = str | Sequence[str] | Callable[[], Sequence[str]]

# A server that takes longer to say how it is would be no good place for a session.
_HEALTH_TIMEOUT_S = 2.0
_MOST_AT_ONCE = 32

T = TypeVar("T")


class Servers:
    """Servers of one environment.

    Args:
        addresses: Their base URLs; a function is asked for them whenever sessions are to be opened.
        connect_timeout_s: The time for each to say what its interface is, in seconds.
        api_key: As in `RemoteEnv`, like the two that follow.
        headers: As in `RemoteEnv`.
        ca_file: As in `RemoteEnv`.

    Raises:
        ConfigurationError: There are none, or a base URL is none.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        connect_timeout_s: float,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
    ) -> None:
        self._addresses = addresses
        self._timeout_s = connect_timeout_s
        self._credentials = Credentials.of(api_key, headers, ca_file)
        self._workers: dict[Endpoint, int] = {}
        self._schemas: tuple[Any, Any] | None = None
        self._same: set[Endpoint] = set()  # those whose schemas were seen to be the first one's
        self.first = self.endpoints()[0]

    def endpoints(self) -> list[Endpoint]:
        """Where the servers are now."""
        found = self._addresses() if callable(self._addresses) else self._addresses
        urls = [found] if isinstance(found, str) else list(found)
        endpoints = list(
            dict.fromkeys(replace(Endpoint.parse(url), credentials=self._credentials) for url in urls)
        )
        if not endpoints:
            raise ConfigurationError("There is no server: the list of base URLs is empty")
        return endpoints

    def check_same(self) -> None:
        """Sees whether all servers have one interface; each is asked once.

        Raises:
            ConfigurationError: Two differ; the message names both.
            EndpointError: One does not answer.
        """
        endpoints = self.endpoints()
        if len(endpoints) > 1:
            _at_once(self._check, endpoints)

    def note_workers(self, endpoint: Endpoint, count: int) -> None:
        """Notes how many processes a server has; what `/health` says is of one of them."""
        self._workers[endpoint] = count

    def forget(self, endpoint: Endpoint) -> None:
        """Notes that a connection to a server was lost: what comes back there may be another one."""
        self._same.discard(endpoint)

    def place(self, count: int, *, holds_one: bool = False) -> list[tuple[Endpoint, int]]:
        """Where to open sessions: servers, and how many on each, in proportion to their free sessions.

        Where there is one server only, it is not asked first: it says itself what it has not. The keyword is
        that of `place_all`.

        Returns:
            Shares that sum up to ``count``, or to fewer where there are fewer free sessions.

        Raises:
            EndpointUnreachableError: No server answers.
            ConfigurationError: A server's interface is not that of the others.
        """
        endpoints = self.endpoints()
        if len(endpoints) == 1:
            return [(endpoints[0], count)]
        answers = _at_once(self._free, endpoints)
        alive = [
            (endpoint, min(free + holds_one, count))
            for endpoint, free in zip(endpoints, answers, strict=True)
            if not isinstance(free, EndpointError)
        ]
        if not alive:
            error = next(answer for answer in answers if isinstance(answer, EndpointError))
            raise EndpointUnreachableError(
                f"None of the {len(endpoints)} servers answers; {error}"
            ) from error
        shares = in_proportion(count, [free for _, free in alive])
        return [(endpoint, share) for (endpoint, _), share in zip(alive, shares, strict=True) if share]

    def place_all(self, count: int, *, holds_one: bool = False) -> list[tuple[Endpoint, int]]:
        """The same, and all of them.

        Args:
            count: The number of sessions.
            holds_one: Whether one of them is held on each server already, which counts as free.

        Raises:
            CapacityError: There are not as many free sessions; and what `place` raises.
        """
        placed = self.place(count, holds_one=holds_one)
        available = sum(share for _, share in placed)
        if available < count:
            raise self.too_few(count, available)
        return placed

    def too_few(self, count: int, available: int) -> OpenEnvError:
        """The error for sessions that are not to be had."""
        finding = f"{self} have {available} of the {count} sessions that were asked for"
        return capacity_error(finding, "The others are in use.", count, {}, available)

    def _free(self, endpoint: Endpoint) -> int | EndpointError:
        """How many sessions are free; a server that does not say has as many as one likes."""
        try:
            self._check(endpoint)
            health = get_json(endpoint, "/health", timeout_s=min(self._timeout_s, _HEALTH_TIMEOUT_S))
        except EndpointError as error:
            return error
        most, active = health.get("max_sessions"), health.get("active_sessions")
        if not isinstance(most, int) or not isinstance(active, int):
            return _PLENTY
        return max(most - active, 0) * self._workers.get(endpoint, 1)

    def _check(self, endpoint: Endpoint) -> None:
        if endpoint in self._same:
            return
        if self._schemas is None:
            self._schemas = get_schemas(self.first, timeout_s=self._timeout_s)
        if get_schemas(endpoint, timeout_s=self._timeout_s) != self._schemas:
            raise ConfigurationError(
                f"{self.first} and {endpoint} serve different environments: their schemas of action and "
                "observation are not the same. A vector environment has one environment on all its servers"
            )
        self._same.add(endpoint)

    def __str__(self) -> str:
        others = len(self.endpoints()) - 1
        return f"{self.first} and {others} other{'s' if others > 1 else ''}" if others else str(self.first)

    def __getstate__(self) -> dict[str, Any]:
        """What tells the addresses stays with the original; a copy has the present ones."""
        urls = [endpoint.base_url for endpoint in self.endpoints()]
        return {**self.__dict__, "_addresses": urls}


_PLENTY = 2**31


def in_proportion(count: int, free: Sequence[int]) -> list[int]:
    """Divides a count in proportion to what is free, and gives nobody more than that.

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


def _at_once(ask: Callable[[Endpoint], T], endpoints: Sequence[Endpoint]) -> list[T]:
    """Asks all servers at the same time; the first error is raised when all have answered."""
    with ThreadPoolExecutor(min(len(endpoints), _MOST_AT_ONCE), "openenv-ask") as pool:
        return list(pool.map(ask, endpoints))
