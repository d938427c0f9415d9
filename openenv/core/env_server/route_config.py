"""Routes as data."""

from openenv_server.routes.get_endpoints import GetEndpointConfig, register_get_endpoints

__all__ = ["GetEndpointConfig", "register_get_endpoints"]
