"""The provider of a project's server with uv."""

from openenv_gym.providers.uv import UVProvider

__all__ = ["UVProvider"]
