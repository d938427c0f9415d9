"""Gymnasium's own `check_env`, through `RemoteEnv`."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from openenv_cli.validation.check import Check, Finding, failed, passed
from openenv_cli.validation.server import TURN_TIMEOUT_S, Server
from openenv_gym.errors import OpenEnvError

_FIX = "Mend what it says; the same rules hold for every gymnasium.Env."


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
    with closing(made):
        env: gym.Env[Any, Any] = made.unwrapped
        try:
            check_env(env, skip_render_check=is_single)
        except OpenEnvError:
            raise
        except Exception as error:  # it raises AssertionError, TypeError, gymnasium.error.Error and others
            return failed(f"check_env: {str(error) or type(error).__name__}", _FIX, notes=notes)
    return passed("check_env has no objection", notes=notes)


GYMNASIUM_CHECKS = (
    Check(
        "gymnasium.check_env",
        "Gymnasium's check_env passes, through RemoteEnv",
        _check_env,
        fix=_FIX,
        needs=("session.seed", "session.capacity"),
    ),
)
