"""What an environment's author needs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openenv.core.env_server.mcp_types import (
    RESERVED_TOOL_NAMES,
    CallToolAction,
    CallToolObservation,
    JsonRpcError,
    JsonRpcErrorCode,
    JsonRpcRequest,
    JsonRpcResponse,
    ListToolsAction,
    ListToolsObservation,
    McpMethod,
    Tool,
    ToolError,
    ToolErrorType,
    WSMCPMessage,
    WSMCPResponse,
)
from openenv.core.env_server.types import (
    Action,
    BaseMessage,
    ConcurrencyConfig,
    GetTaskRangeRequest,
    GetTaskRequest,
    HealthResponse,
    HealthStatus,
    ListTasksRequest,
    NumTasksRequest,
    Observation,
    SchemaResponse,
    ServerCapacityStatus,
    ServerMode,
    SessionInfo,
    State,
    WSCloseMessage,
    WSErrorCode,
    WSErrorResponse,
    WSIncomingMessage,
    WSObservationResponse,
    WSResetMessage,
    WSStateMessage,
    WSStateResponse,
    WSStepMessage,
)

if TYPE_CHECKING:
    from openenv.core.env_server.base_transforms import CompositeTransform, NullTransform
    from openenv.core.env_server.exceptions import (
        ConcurrencyConfigurationError,
        EnvironmentFactoryError,
        OpenEnvError,
        SessionCapacityError,
        SessionCreationError,
        SessionNotFoundError,
    )
    from openenv.core.env_server.http_server import HTTPEnvServer, create_app, create_fastapi_app
    from openenv.core.env_server.interfaces import (
        Environment,
        Message,
        ModelTokenizer,
        TaskProvider,
        Transform,
    )
    from openenv.core.env_server.mcp_environment import MCPEnvironment
    from openenv.core.env_server.route_config import GetEndpointConfig
    from openenv.core.env_server.serialization import (
        deserialize_action,
        deserialize_action_with_preprocessing,
        serialize_observation,
    )
    from openenv.core.env_server.web_interface import WebInterfaceManager, create_web_interface_app

__all__ = [
    "RESERVED_TOOL_NAMES",
    "Action",
    "BaseMessage",
    "CallToolAction",
    "CallToolObservation",
    "CompositeTransform",
    "ConcurrencyConfig",
    "ConcurrencyConfigurationError",
    "Environment",
    "EnvironmentFactoryError",
    "GetEndpointConfig",
    "GetTaskRangeRequest",
    "GetTaskRequest",
    "HTTPEnvServer",
    "HealthResponse",
    "HealthStatus",
    "JsonRpcError",
    "JsonRpcErrorCode",
    "JsonRpcRequest",
    "JsonRpcResponse",
    "ListTasksRequest",
    "ListToolsAction",
    "ListToolsObservation",
    "MCPEnvironment",
    "McpMethod",
    "Message",
    "ModelTokenizer",
    "NullTransform",
    "NumTasksRequest",
    "Observation",
    "OpenEnvError",
    "SchemaResponse",
    "ServerCapacityStatus",
    "ServerMode",
    "SessionCapacityError",
    "SessionCreationError",
    "SessionInfo",
    "SessionNotFoundError",
    "State",
    "TaskProvider",
    "Tool",
    "ToolError",
    "ToolErrorType",
    "Transform",
    "WSCloseMessage",
    "WSErrorCode",
    "WSErrorResponse",
    "WSIncomingMessage",
    "WSMCPMessage",
    "WSMCPResponse",
    "WSObservationResponse",
    "WSResetMessage",
    "WSStateMessage",
    "WSStateResponse",
    "WSStepMessage",
    "WebInterfaceManager",
    "create_app",
    "create_fastapi_app",
    "create_web_interface_app",
    "deserialize_action",
    "deserialize_action_with_preprocessing",
    "serialize_observation",
]

# The modules with the other names. They need the server extra, which a trainer may not have.
_SERVER_MODULES = (
    "base_transforms",
    "exceptions",
    "http_server",
    "interfaces",
    "mcp_environment",
    "route_config",
    "serialization",
    "web_interface",
)


def __getattr__(name: str) -> Any:
    """Import the server when one of its names is used."""
    if name in __all__:
        for module in _SERVER_MODULES:
            found = import_module(f"{__name__}.{module}")
            if name in found.__all__:
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
