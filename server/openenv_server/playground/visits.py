"""The open browser tabs, each with its session."""

from __future__ import annotations

from collections.abc import Callable
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

    def endpoint(self, request: Any) -> Endpoint:
        """Return the server, with the key of whoever sent a request (a ``gradio.Request``)."""
        return self._endpoint_for(request)

    def episode(self, request: Any) -> Episode:
        """Return the episode of a tab."""
        if request.session_hash not in self._episodes:
            self._episodes[request.session_hash] = Episode(self._endpoint_for(request), renders=self._renders)
        return self._episodes[request.session_hash]

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
