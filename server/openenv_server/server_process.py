"""What each process of a server does first."""

from __future__ import annotations

from openenv_gym.process_key import keep_secrets
from openenv_server.operations.logs import configure_logs
from openenv_server.operations.tracing import begin_tracing
from openenv_server.security.keys import Keys
from openenv_server.settings import Settings


def begin_process(settings: Settings) -> None:
    """Configure the logs and tracing, and take the keys out of the environment variables.

    Call it before importing an environment: its own configuration of the logs wins, and what it starts does
    not inherit the keys.

    Raises:
        ConfigurationError: The file of keys cannot be used.
    """
    configure_logs(settings.log_format, settings.log_level)
    Keys(settings)  # hides them in the log
    begin_tracing()
    keep_secrets(settings.secrets())
