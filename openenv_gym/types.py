"""The contract between an environment and those who drive it.

An environment's author subclasses `Action` and `Observation`, and `State` where there is more to tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from openenv_gym.arrays import Array
from openenv_gym.schema_keywords import BESIDE_MARK

__all__ = [
    "Action",
    "Array",
    "CodeExecResult",
    "EnvironmentMetadata",
    "Message",
    "Observation",
    "Scalar",
    "State",
    "StepResult",
]

Scalar = bool | int | float


class Action(BaseModel):
    """What an agent sends to an environment. Unknown fields are refused, so that a slip is not lost.

    Attributes:
        metadata: Anything that goes along with the action and is not a part of the action space.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=True)

    metadata: dict[str, Any] = Field(default_factory=dict, description="Goes along with the action")


class Observation(BaseModel):
    """What an environment answers to ``reset`` and ``step``.

    Attributes:
        done: The episode has ended, in whatever way.
        reward: The reward of the step that led here; None where there is none, as after a reset.
        truncated: The episode was cut short (a time limit, say) and did not end by itself. None where
            the environment does not say. An episode with ``done`` and without ``truncated`` counts as
            terminated.
        metadata: What a trainer finds in ``info``.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=True)

    done: bool = Field(default=False, description="Whether the episode has ended")
    reward: Scalar | None = Field(default=None, description="The reward of the step that led here")
    truncated: bool | None = Field(
        default=None,
        description="Whether the episode was cut short",
        json_schema_extra={BESIDE_MARK: True},
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="What a trainer finds in info")


class State(BaseModel):
    """Where a session stands. Further fields are welcome.

    Attributes:
        episode_id: The name of the episode, or None before the first one.
        step_count: Steps taken since the last reset.
    """

    model_config = ConfigDict(extra="allow", validate_assignment=True, arbitrary_types_allowed=True)

    episode_id: str | None = Field(default=None, description="The name of the episode")
    step_count: int = Field(default=0, ge=0, description="Steps taken since the last reset")


class EnvironmentMetadata(BaseModel):
    """What an environment says of itself at ``GET /metadata``."""

    name: str = Field(description="The environment's name")
    description: str = Field(description="One sentence on what it is")
    readme_content: str | None = Field(default=None, description="Its README, as Markdown")
    version: str | None = Field(default=None, description="Its version")
    author: str | None = Field(default=None, description="Who made it")
    documentation_url: str | None = Field(default=None, description="Where to read more")


class CodeExecResult(BaseModel):
    """The outcome of a piece of code that an environment ran."""

    stdout: str = Field(description="What it wrote to standard output")
    stderr: str = Field(description="What it wrote to standard error")
    exit_code: int = Field(description="Its exit code; 0 is success")


class Message(TypedDict):
    """One message of a conversation, as chat templates take it."""

    role: str
    content: str


ObsT = TypeVar("ObsT")


@dataclass
class StepResult(Generic[ObsT]):
    """What a client gets from ``reset`` and ``step``.

    Attributes:
        observation: The observation.
        reward: The reward of the step, or None where there is none.
        done: The episode has ended, in whatever way.
        metadata: What the environment says beside the observation.
        truncated: The episode was cut short and did not end by itself; None where the server does not say.
    """

    observation: ObsT
    reward: Scalar | None = None
    done: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    truncated: bool | None = None
