"""Checks of how many sessions a server has, and that closed ones are free again."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

from openenv_cli.validation.check import Check, Finding, failed, passed
from openenv_cli.validation.episodes import SEED
from openenv_cli.validation.server import TURN_TIMEOUT_S, Server, health_of
from openenv_gym.errors import CapacityError, RemoteError

# So many sessions are opened at once, and one more where the server's limit is not above that.
MOST_SESSIONS = 4
_PAUSE_S = 0.05


def _capacity(server: Server) -> Finding:
    promised = _free_sessions(server)
    wanted = MOST_SESSIONS if promised is None else min(promised, MOST_SESSIONS)
    with ExitStack() as stack:
        opened, refusal = _open(server, stack, wanted)
        server.sessions_at_once = opened
        if refusal is not None and not isinstance(refusal, CapacityError):
            return failed(
                f"Session {opened + 1} beside {opened} others is not opened: {refusal}",
                "Let each instance have its own files, ports and devices, or set "
                "SUPPORTS_CONCURRENT_SESSIONS = False in the class.",
            )
        if refusal is not None and promised is not None:
            return failed(
                f"GET /health says that {promised} sessions are free, and number {opened + 1} is refused: "
                f"{refusal}",
                "See who else uses the server, and whether create_app's max_concurrent_envs is meant.",
            )
        if refusal is not None:
            return passed(f"{opened} at once; one more is refused")
        if promised is None or promised > MOST_SESSIONS:
            more = "" if promised is None else f", of {promised} that are free"
            return passed(f"{opened} at once{more}; the limit itself was not tried")
        _, refusal = _open(server, stack, 1, waits=False)
    if refusal is None:
        return failed(
            f"GET /health says that {promised} sessions are free, and one more is opened",
            "Make the application with create_app, which keeps to its limit.",
        )
    if not isinstance(refusal, CapacityError):
        return failed(
            f"One session more than {promised} is refused with {refusal.code}, not CAPACITY_REACHED",
            "Make the application with create_app, which refuses it so that clients can wait.",
        )
    return passed(f"{opened} at once, as GET /health says; one more is refused")


def _free_sessions(server: Server) -> int | None:
    """How many sessions the server says are free; None where it does not say, as published servers do."""
    health = health_of(server)
    most, active = health.get("max_sessions"), health.get("active_sessions")
    return max(most - active, 0) if isinstance(most, int) and isinstance(active, int) else None


def _open(
    server: Server, stack: ExitStack, most: int, *, waits: bool = True
) -> tuple[int, RemoteError | None]:
    """Opens sessions until there are so many, or one is refused; they are closed with the stack.

    Args:
        server: The server.
        stack: Closes them.
        most: How many.
        waits: Whether the first waits for the place of a session that was closed just now.

    Returns:
        How many were opened, and the refusal.
    """
    for opened in range(most):
        env = stack.enter_context(closing(server.env()))
        if opened or not waits:
            env.capacity_timeout_s = 0.0
        try:
            env.reset(seed=SEED)
        except RemoteError as error:
            return opened, error
    return most, None


def _close(server: Server) -> Finding:
    before = health_of(server).get("active_sessions")
    with closing(server.env()) as env:
        env.reset(seed=SEED)
    with closing(server.env()) as env:
        env.reset(seed=SEED)  # waits for its turn, and raises CapacityError where that does not come
    if not isinstance(before, int):
        return passed(
            "After a session was closed, the next one opened; the server does not say how many are open"
        )
    deadline = time.monotonic() + TURN_TIMEOUT_S
    while (now := health_of(server).get("active_sessions")) and int(now) > before:
        if time.monotonic() > deadline:
            return failed(
                f"Before, {before} sessions were open; {TURN_TIMEOUT_S:g} s after two more were closed, "
                f"{now} are",
                "Let the environment's close() return; a session is free when it has.",
            )
        time.sleep(_PAUSE_S)
    return passed(f"{now} sessions are open, as before")


CAPACITY_CHECKS = (
    Check(
        "session.capacity",
        "It has as many sessions at once as it says",
        _capacity,
        fix="Try it with two sessions, and see the server's log.",
        needs=("routes.health", "session.step"),
    ),
    Check(
        "session.close",
        "A session that is closed is free again",
        _close,
        fix="Let the environment's close() return and not raise.",
        needs=("session.capacity",),
    ),
)
