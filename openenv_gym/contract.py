"""The contract's further models: requests, responses, messages of version 1, and a server's sessions.

Neither our client nor our server needs most of them; they are for code that is written against the contract.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from openenv_gym.types import BaseMessage
from openenv_gym.wire.codes import ErrorCode as WSErrorCode

__all__ = [
    "ConcurrencyConfig",
    "GetTaskRangeRequest",
    "GetTaskRequest",
    "HealthResponse",
    "HealthStatus",
    "ListTasksRequest",
    "NumTasksRequest",
    "ResetRequest",
    "ResetResponse",
    "SchemaResponse",
    "ServerCapacityStatus",
    "ServerMode",
    "SessionInfo",
    "StepRequest",
    "StepResponse",
    "WSCloseMessage",
    "WSErrorCode",
    "WSErrorResponse",
    "WSIncomingMessage",
    "WSObservationResponse",
    "WSResetMessage",
    "WSStateMessage",
    "WSStateResponse",
    "WSStepMessage",
]


class ServerMode(StrEnum):
    """The mode of a server: for training, or in production."""

    SIMULATION = "simulation"
    PRODUCTION = "production"


class HealthStatus(StrEnum):
    """The health of a server."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEGRADED = "degraded"


# --- HTTP ---------------------------------------------------------------------------------------------------


class ResetRequest(BaseModel):
    """The body of ``POST /reset``: the keywords of the environment's ``reset``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    seed: int | None = Field(default=None, ge=0, description="Makes the episode repeatable")
    episode_id: str | None = Field(default=None, description="A name for the episode")


class StepRequest(BaseModel):
    """The body of ``POST /step``: the action, and the keywords of the environment's ``step``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    action: dict[str, Any] = Field(description="The action")
    timeout_s: float | None = Field(default=None, gt=0, description="Seconds that the step may take")
    request_id: str | None = Field(default=None, description="The caller's own id of the request")


class ResetResponse(BaseModel):
    """The response to ``POST /reset``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    observation: dict[str, Any] = Field(description="The observation's own fields")
    reward: float | None = Field(default=None, description="The reward of the step; None after a reset")
    done: bool = Field(default=False, description="Whether the episode has ended")
    metadata: dict[str, Any] | None = Field(default=None, description="What a trainer finds in info")


class StepResponse(ResetResponse):
    """The response to ``POST /step``."""


class SchemaResponse(BaseMessage):
    """The response to ``GET /schema``: JSON Schemas, from which a client makes its spaces."""

    action: dict[str, Any] = Field(description="The schema of actions")
    observation: dict[str, Any] = Field(description="The schema of observations")
    state: dict[str, Any] = Field(description="The schema of the state")
    reset_observation: dict[str, Any] | None = Field(
        default=None, description="The schema of first observations"
    )

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: schema for name, schema in serialize(self).items() if schema is not None}


class HealthResponse(BaseMessage):
    """The response to ``GET /health``."""

    status: HealthStatus = Field(default=HealthStatus.HEALTHY, description="The health of the server")


class ListTasksRequest(BaseMessage):
    """Asks for the tasks of a split."""

    split: str = Field(description="The name of the split")


class NumTasksRequest(ListTasksRequest):
    """Asks for the number of tasks of a split."""


class GetTaskRequest(ListTasksRequest):
    """Asks for one task of a split."""

    index: int = Field(description="The task's place in the split")


class GetTaskRangeRequest(ListTasksRequest):
    """Asks for tasks of a split, by the bounds of a slice."""

    start: int | None = Field(default=None, description="The place of the first task")
    stop: int | None = Field(default=None, description="The place after the last task")


# --- messages of version 1 ----------------------------------------------------------------------------------


class WSResetMessage(BaseMessage):
    """Starts an episode."""

    type: Literal["reset"] = "reset"
    data: dict[str, Any] = Field(default_factory=dict, description="The keywords of reset")


class WSStepMessage(BaseMessage):
    """Takes an action."""

    type: Literal["step"] = "step"
    data: dict[str, Any] = Field(description="The fields of the action")


class WSStateMessage(BaseMessage):
    """Asks for the state."""

    type: Literal["state"] = "state"


class WSCloseMessage(BaseMessage):
    """Ends the session."""

    type: Literal["close"] = "close"


WSIncomingMessage = Annotated[
    WSResetMessage | WSStepMessage | WSStateMessage | WSCloseMessage, Field(discriminator="type")
]


class _Response(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class WSObservationResponse(_Response):
    """The answer to a reset or a step."""

    type: Literal["observation"] = "observation"
    data: dict[str, Any] = Field(description="The observation, the reward, and whether the episode is done")


class WSStateResponse(_Response):
    """The answer with the state."""

    type: Literal["state"] = "state"
    data: dict[str, Any] = Field(description="The fields of the state")


class WSErrorResponse(_Response):
    """The answer to a request that failed."""

    type: Literal["error"] = "error"
    data: dict[str, Any] = Field(description="The message, the code and further facts")


# --- sessions -----------------------------------------------------------------------------------------------


class ConcurrencyConfig(BaseMessage):
    """The limits of a server's sessions."""

    max_concurrent_envs: int = Field(default=1, ge=1, description="Maximum number of sessions at a time")
    session_timeout: float | None = Field(
        default=None, gt=0, description="Seconds without a message after which a session is closed"
    )


class ServerCapacityStatus(BaseMessage):
    """The sessions of a server, and its limit."""

    active_sessions: int = Field(ge=0, description="Sessions in use")
    max_sessions: int = Field(ge=1, description="Maximum number of sessions at a time")

    @model_validator(mode="after")
    def check_capacity_bounds(self) -> Self:
        """Refuse more sessions than the maximum."""
        if self.active_sessions > self.max_sessions:
            raise ValueError(f"{self.active_sessions} sessions exceed the maximum, {self.max_sessions}")
        return self

    @property
    def available_slots(self) -> int:
        """The number of sessions that can be opened."""
        return self.max_sessions - self.active_sessions

    @property
    def is_at_capacity(self) -> bool:
        """Whether no session can be opened."""
        return self.available_slots == 0

    @classmethod
    def from_counts(cls, active: int, max_sessions: int) -> Self:
        """Make it of two numbers."""
        return cls(active_sessions=active, max_sessions=max_sessions)


class SessionInfo(BaseMessage):
    """One session of a server."""

    session_id: str = Field(description="The id of the session")
    created_at: float = Field(description="When it was opened, in Unix seconds")
    last_activity_at: float = Field(description="When its last message came, in Unix seconds")
    step_count: int = Field(default=0, ge=0, description="The number of its steps")
    environment_type: str = Field(description="The class of its environment")
