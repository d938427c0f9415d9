"""A stand-in for the Hugging Face Hub, for its real client.

What is done with Spaces is kept in `repositories.HubState`, the routes are in `routes`, and `faults` breaks
requests on purpose. `serving_hub` starts it on loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.hub.faults import Fault, Faulty
from tests.support.hub.repositories import HubState
from tests.support.hub.routes import make_hub
from tests.support.servers import running

TOKEN = "hf_a_token_that_may_write"


@dataclass
class StandIn:
    """A stand-in that runs: where, what it holds, what it was asked, and what it is to break."""

    endpoint: str
    state: HubState
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def variables(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment variables of a client of this Hub, with a separate home."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            # Xet stores large files on servers of another kind; the client's other way is the LFS protocol.
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": token or "",
        }

    def asked(self, *words: str) -> list[str]:
        """The requests that have all these words, as METHOD /path."""
        return [request for request in self.requests if all(word in request for word in words)]


@contextmanager
def serving_hub() -> Iterator[StandIn]:
    """Runs a Hub with one user, ``ann``, who is a member of ``my-org`` and has no way to pay."""
    state = HubState()
    state.add_user(TOKEN, "ann", organizations={"my-org"})
    standin = StandIn("", state)
    with running(Faulty(make_hub(state), standin.faults, standin.requests)) as endpoint:
        standin.endpoint = state.endpoint = endpoint
        yield standin
