"""The servers behind a vector environment, and which of them new sessions go to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from gymnasium import logger

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    OpenEnvError,
)
from openenv_gym.transport.credentials import Credentials
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Capacity as Room
from openenv_gym.transport.http import Schemas, get_capacity, get_schemas
from openenv_gym.vector.room import Survey, too_few

# One address, several, or what tells the present ones: servers may be replaced.
Addresses = str | Sequence[str] | Callable[[], Sequence[str]]

# A server that takes longer to say how it is would be no good place for a session, and all slots stand still
# meanwhile; so it is not asked again for a while.
_ANSWER_TIMEOUT_S = 2.0
_AVOIDED_S = 10.0
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
    ) -> None:
        self._addresses = addresses
        self._timeout_s = connect_timeout_s
        self._credentials = Credentials.of(api_key, headers, ca_file)
        self._schemas: Schemas = {}, {}
        self._same: set[Endpoint] = set()  # those whose schemas were seen to be the first one's
        self._silent_until: dict[Endpoint, float] = {}
        self._survey = Survey({}, (), are_all=False)  # the last one
        self._last: list[Endpoint] = []  # where they were when that was asked for last
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
        self._last = endpoints
        return endpoints

    def read_schemas(self) -> Schemas:
        """Asks all servers for their schemas, each once, and sees whether they are the same.

        Those that do not answer are left out as long as another does, which is said as a warning. They get
        sessions as any other once they are back.

        Raises:
            ConfigurationError: Two differ; the message names both.
            EndpointUnreachableError: No server answers.
            EndpointError: One answers something else.
        """
        endpoints = self.endpoints()
        answers = dict(zip(endpoints, at_once(self._try_schemas, endpoints), strict=True))
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

    @property
    def are_several(self) -> bool:
        """Whether there are others to go to where one is lost."""
        return len(self.endpoints()) > 1

    def forget(self, endpoint: Endpoint) -> None:
        """Notes that a connection to a server was lost: what comes back there may be another one."""
        self._same.discard(endpoint)

    def place(
        self, count: int, *, without: Mapping[Endpoint, OpenEnvError] = MappingProxyType({})
    ) -> list[tuple[Endpoint, int]]:
        """Where to open sessions: servers, and how many on each, in proportion to their free sessions.

        Where there is one server only, it is not asked first: it says itself what it has not. Each of several
        has 2 s to answer; one that lets them pass is not asked again for 10 s, unless no other answers.

        Args:
            count: The number of sessions.
            without: Servers where they could not be opened, and why.

        Returns:
            Shares that sum up to ``count``, or to fewer where there are fewer free sessions.

        Raises:
            EndpointUnreachableError: No server answers.
            ConfigurationError: A server's interface is not that of the others.
            OpenEnvError: No server is left, or none that answers: one of the reasons in ``without``.
        """
        every = self.endpoints()
        if len(every) == 1 and not without:
            self._survey = Survey({}, (), are_all=False)
            return [(every[0], count)]
        endpoints = [endpoint for endpoint in every if endpoint not in without]
        # With this reason it is worth while to ask again later.
        full = next((reason for reason in without.values() if isinstance(reason, CapacityError)), None)
        if not endpoints:
            raise full or list(without.values())[-1]
        now = time.monotonic()
        silent = [endpoint for endpoint in endpoints if self._silent_until.get(endpoint, 0.0) > now]
        others = [endpoint for endpoint in endpoints if endpoint not in silent]
        errors: list[EndpointError] = []
        rooms = self._rooms_on(others, errors) or self._rooms_on(silent, errors)
        if not rooms:
            raise full or _none_answers(errors)
        away = [url for url in every if url not in rooms and not isinstance(without.get(url), CapacityError)]
        self._survey = Survey(rooms, away, are_all=not without and not callable(self._addresses))
        # A server that does not say has as many as any, and as many as one likes.
        plenty = max(count, *(room.free for room in rooms.values() if room is not None), 0)
        shares = in_proportion(count, [plenty if room is None else room.free for room in rooms.values()])
        return [(endpoint, share) for endpoint, share in zip(rooms, shares, strict=True) if share]

    def place_all(
        self, count: int, *, without: Mapping[Endpoint, OpenEnvError] = MappingProxyType({})
    ) -> list[tuple[Endpoint, int]]:
        """The same, and all of them.

        Raises:
            CapacityError: There are not as many free sessions; and what `place` raises.
        """
        placed = self.place(count, without=without)
        available = sum(share for _, share in placed)
        if available < count:
            raise self.too_few(count, available)
        return placed

    def too_few(self, count: int, available: int) -> CapacityError:
        """The error for sessions that are not to be had, from what the servers answered last."""
        return too_few(f"{self} {'have' if self.are_several else 'has'}", self._survey, count, available)

    def never_have(self, count: int) -> bool:
        """Whether the servers have fewer sessions in all; a single one is asked now, as `place` does not."""
        endpoints = self.endpoints()
        if len(endpoints) == 1:
            self._survey = Survey(self._rooms_on(endpoints, []), (), are_all=not callable(self._addresses))
        return self._survey.never_has(count)

    def _rooms_on(
        self, endpoints: Sequence[Endpoint], errors: list[EndpointError]
    ) -> dict[Endpoint, Room | None]:
        """The room on each server that answers; what is amiss with the others is noted."""
        rooms: dict[Endpoint, Room | None] = {}
        for endpoint, answer in zip(endpoints, at_once(self._room, endpoints), strict=True):
            if isinstance(answer, EndpointError):
                errors.append(answer)
            else:
                rooms[endpoint] = answer
        return rooms

    def _try_schemas(self, endpoint: Endpoint) -> Schemas | EndpointError:
        try:
            return get_schemas(endpoint, timeout_s=self._timeout_s)
        except EndpointUnreachableError as error:
            return error
        except DeadlineExceededError as error:
            self._avoid(endpoint)
            return error

    def _room(self, endpoint: Endpoint) -> Room | EndpointError | None:
        until = time.monotonic() + min(self._timeout_s, _ANSWER_TIMEOUT_S)
        try:
            self._check(endpoint, timeout_s=until - time.monotonic())
            return get_capacity(endpoint, timeout_s=max(until - time.monotonic(), 1e-3))
        except EndpointError as error:
            if isinstance(error, DeadlineExceededError):
                self._avoid(endpoint)
            return error

    def _avoid(self, endpoint: Endpoint) -> None:
        self._silent_until[endpoint] = time.monotonic() + _AVOIDED_S

    def _check(self, endpoint: Endpoint, *, timeout_s: float) -> None:
        if endpoint in self._same:
            return
        self._compare(endpoint, get_schemas(endpoint, timeout_s=timeout_s))

    def _compare(self, endpoint: Endpoint, schemas: Schemas) -> None:
        if schemas != self._schemas:
            raise ConfigurationError(
                f"{self.first} and {endpoint} serve different environments: their schemas of action and "
                "observation are not the same. A vector environment has one environment on all its servers"
            )
        self._same.add(endpoint)

    def __str__(self) -> str:
        others = len(self._last) - 1
        return f"{self.first} and {others} other{'s' if others > 1 else ''}" if others else str(self.first)

    def __getstate__(self) -> dict[str, Any]:
        """What tells the addresses stays with the original; a copy has the present ones, or else the last."""
        try:
            endpoints = self.endpoints()
        except Exception:  # what tells them may be anybody's, and may have ended: a provider that was stopped
            endpoints = self._last
        urls = [endpoint.base_url for endpoint in endpoints]
        return {**self.__dict__, "_addresses": urls, "_silent_until": {}}  # times are of this machine


def _none_answers(errors: Sequence[EndpointError]) -> EndpointUnreachableError:
    """The error where no server answers, or none but those that were tried before."""
    which = f"None of the {len(errors)} servers" if len(errors) > 1 else "No other server"
    error = EndpointUnreachableError(f"{which} answers. {errors[0]}")
    error.__cause__ = errors[0].__cause__
    return error


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


def at_once(ask: Callable[[Endpoint], T], endpoints: Sequence[Endpoint]) -> list[T]:
    """Asks all servers at the same time; the first error is raised when all have answered."""
    if len(endpoints) < 2:
        return [ask(endpoint) for endpoint in endpoints]
    with ThreadPoolExecutor(min(len(endpoints), _MOST_AT_ONCE), "openenv-ask") as pool:
        return list(pool.map(ask, endpoints))
