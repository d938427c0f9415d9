"""The open browser tabs, each with its session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from openenv_gym.transport.endpoint import Endpoint
from openenv_server.playground.episode import Episode


class Visits:
    """The open tabs, by Gradio's id of each.

    Args:
        endpoint_for: Returns the server, with the key of whoever sent a request.
        renders: Whether the server renders its environments.
    """

    def __init__(self, endpoint_for: Callable[[Any], Endpoint], *, renders: bool) -> None:
        self._endpoint_for = endpoint_for
        self._renders = renders
        self._episodes: dict[str, Episode] = {}
        self._connected: set[str] = set()

    def endpoint(self, request: Any) -> Endpoint:
        """Return the server, with the key of whoever sent a request (a ``gradio.Request``)."""
        return self._endpoint_for(request)

    @contextmanager
    def connection(self, tab: str) -> Iterator[None]:
        """Note that a tab is connected: its close ends the request that is answered inside the ``with``."""
        self._connected.add(tab)
        try:
            yield
        finally:
            self._connected.discard(tab)

    def episode(self, request: Any) -> Episode:
        """Return the episode of a tab.

        It is a closed one if the tab is not connected, since the playground was restarted or the network was
        away: nothing would say when the tab closes, and its session would not be given back.
        """
        tab = request.session_hash
        if tab in self._episodes:
            return self._episodes[tab]
        episode = Episode(self._endpoint_for(request), renders=self._renders)
        if tab in self._connected:
            self._episodes[tab] = episode
        else:
            episode.is_closed = True
        return episode

    async def leave(self, request: Any) -> None:
        """Give back the session of a tab that was closed."""
        episode = self._episodes.pop(request.session_hash, None)
        if episode is not None:
            await episode.close()

    async def close(self) -> None:
        """Give back all sessions."""
        while self._episodes:
            _, episode = self._episodes.popitem()
            await episode.close()
