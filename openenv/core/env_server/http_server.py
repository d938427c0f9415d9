"""The server."""

from openenv_server.app import EnvironmentServer as HTTPEnvServer
from openenv_server.app import create_app, create_fastapi_app

__all__ = ["HTTPEnvServer", "create_app", "create_fastapi_app"]
