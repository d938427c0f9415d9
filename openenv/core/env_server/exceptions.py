"""The server's exceptions."""

from openenv_server.errors import CapacityReachedError as SessionCapacityError
from openenv_server.errors import ConcurrencyConfigurationError, SessionCreationError, SessionNotFoundError
from openenv_server.errors import FactoryFailedError as EnvironmentFactoryError

from openenv_gym.errors import OpenEnvError

__all__ = [
    "ConcurrencyConfigurationError",
    "EnvironmentFactoryError",
    "OpenEnvError",
    "SessionCapacityError",
    "SessionCreationError",
    "SessionNotFoundError",
]
