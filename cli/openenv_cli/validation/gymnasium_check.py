"""Gymnasium's own `check_env`, through `RemoteEnv`."""

from __future__ import annotations

import warnings
from contextlib import closing
from typing import Any

from openenv_cli.validation.check import Check, Finding, failed, passed
from openenv_cli.validation.server import TURN_TIMEOUT_S, Server
from openenv_gym.errors import OpenEnvError


def _check_env(server: Server) -> Finding:
    import gymnasium as gym
    from gymnasium.utils.env_checker import check_env

    import openenv_gym  # noqa: F401 - registers openenv/remote

    made = gym.make(
        "openenv/remote",
        base_url=server.base_url,
        connect_timeout_s=server.timeout_s,
        reset_timeout_s=server.timeout_s,
        step_timeout_s=server.timeout_s,
        capacity_timeout_s=min(TURN_TIMEOUT_S, server.timeout_s),
        disable_env_checker=True,
    )
    notes = []
    # Each render mode is tried in a session beside the first one.
    is_single = server.sessions_at_once == 1
    if is_single and made.metadata["render_modes"]:
        notes.append("Rendering was left out: the server has one session at a time, and it needs two")
    with warnings.catch_warnings(record=True) as caught, closing(made):
        warnings.simplefilter("always")
        env: gym.Env[Any, Any] = made.unwrapped
        try:
            check_env(env, skip_render_check=is_single)
        except OpenEnvError:
            raise
        except Exception as error:  # it raises AssertionError, TypeError, gymnasium.error.Error and others
            return failed(
                f"check_env: {str(error) or type(error).__name__}",
                "Mend what it says; the same rules hold for every gymnasium.Env.",
                notes=notes,
            )
    notes += list(dict.fromkeys(_plain(str(warned.message)) for warned in caught))
    return passed(f"check_env has no objection, and {len(notes)} notes", notes=notes)


def _plain(text: str) -> str:
    """A warning of Gymnasium's without its colours and its level."""
    for mark in ("\x1b[33m", "\x1b[0m", "WARN: "):
        text = text.replace(mark, "")
    return text


GYMNASIUM_CHECKS = (
    Check(
        "gymnasium.check_env",
        "Gymnasium's check_env passes, through RemoteEnv",
        _check_env,
        fix="Mend what it says; the same rules hold for every gymnasium.Env.",
        needs=("session.seed", "session.capacity"),
    ),
)
