"""The client of environments whose actions call tools."""

from openenv_gym.tool_client import ToolClient as MCPClientBase
from openenv_gym.tool_client import ToolClient as MCPToolClient

__all__ = ["MCPClientBase", "MCPToolClient"]
