"""The core: environments, their server, and their clients."""

from typing import TYPE_CHECKING, Any

from openenv.core import env_server
from openenv_gym.client import EnvClient
from openenv_gym.generic_client import GenericAction, GenericEnvClient
from openenv_gym.llm_client import (
    AnthropicClient,
    LLMClient,
    LLMResponse,
    OpenAIClient,
    ToolCall,
    create_llm_client,
)
from openenv_gym.sync_client import SyncEnvClient
from openenv_gym.tool_client import ToolClient as MCPClientBase
from openenv_gym.tool_client import ToolClient as MCPToolClient
from openenv_gym.types import Action, Observation, State, StepResult

if TYPE_CHECKING:
    from openenv_server import Environment, Transform, create_app

__all__ = [
    "Action",
    "AnthropicClient",
    "EnvClient",
    "Environment",
    "GenericAction",
    "GenericEnvClient",
    "LLMClient",
    "LLMResponse",
    "MCPClientBase",
    "MCPToolClient",
    "Observation",
    "OpenAIClient",
    "State",
    "StepResult",
    "SyncEnvClient",
    "ToolCall",
    "Transform",
    "create_app",
    "create_llm_client",
]
__all__ += [name for name in env_server.__all__ if name not in __all__]


def __getattr__(name: str) -> Any:
    """A name of `openenv.core.env_server`, some of which need the server extra."""
    return getattr(env_server, name)
