"""Environments whose actions call tools."""

from openenv_server.tools.environment import MCPEnvironment

from openenv_gym.tool_types import RESERVED_TOOL_NAMES

__all__ = ["RESERVED_TOOL_NAMES", "MCPEnvironment"]
