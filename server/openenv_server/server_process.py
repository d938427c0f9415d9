"""What each process of a server does first."""

from __future__ import annotations

from openenv_gym.process_key import keep_key
from openenv_server.operations.logs import configure_logs
from openenv_server.operations.tracing import begin_tracing
from openenv_server.security.secrets import hide_in_logs
from openenv_server.settings import Settings


def begin_process(settings: Settings) -> None:
    """Configure the logs and tracing, and take the key out of the environment variables.

    Call it before importing an environment: its own configuration of the logs wins, and what it starts does
    not inherit the key.
    """
    configure_logs(settings.log_format, settings.log_level)
    key = settings.openenv_api_key
    shown = None if key is None else key.get_secret_value()
    hide_in_logs(shown)
    begin_tracing()
    keep_key(shown)
