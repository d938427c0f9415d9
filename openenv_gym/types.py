"""The base models of actions, observations and states.

The author of an environment subclasses `Action` and `Observation`, and `State` for more fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # Pydantic takes that of typing from Python 3.12 on

from openenv_gym.arrays import Array
from openenv_gym.json_schema import ModelJsonSchema
from openenv_gym.schema_keywords import BESIDE_MARK

__all__ = [
    "Action",
    "Array",
    "BaseMessage",
    "CodeExecResult",
    "EnvironmentMetadata",
    "Message",
    "ModelTokenizer",
    "Observation",
    "Scalar",
    "State",
    "StepResult",
]

Scalar = bool | int | float


class _Model(BaseModel):
    """A model whose JSON Schema says more than Pydantic's."""

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return the JSON Schema; ``schema_generator`` is `ModelJsonSchema` by default."""
        if len(arguments) < 3:
            options.setdefault("schema_generator", ModelJsonSchema)
        return super().model_json_schema(*arguments, **options)


class Action(_Model):
    """An action. Unknown fields are refused, to catch typos.

    Attributes:
        metadata: Anything to send with the action that is not part of the action space.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", validate_assignment=True, arbitrary_types_allowed=True
    )

    metadata: dict[str, Any] = Field(default_factory=dict, description="Goes along with the action")


class Observation(_Model):
    """The observation after a ``reset`` or a ``step``.

    Attributes:
        done: Whether the episode has ended, for any reason.
        reward: The reward of the step; None after a reset.
        truncated: Whether the episode was cut short, by a time limit for example, and did not end by itself.
            None if the environment does not report it. An episode that is ``done`` and not ``truncated`` is
            terminated.
        metadata: The trainer's ``info``.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", validate_assignment=True, arbitrary_types_allowed=True
    )

    done: bool = Field(default=False, description="Whether the episode has ended")
    reward: Scalar | None = Field(default=None, description="The reward of the step that led here")
    truncated: bool | None = Field(
        default=None,
        description="Whether the episode was cut short",
        json_schema_extra={BESIDE_MARK: True},
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="What a trainer finds in info")


class State(_Model):
    """The state of a session. Subclasses and instances may have more fields.

    Attributes:
        episode_id: The id of the episode; None before the first one.
        step_count: The number of steps since the last reset.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", validate_assignment=True, arbitrary_types_allowed=True
    )

    episode_id: str | None = Field(default=None, description="The name of the episode")
    step_count: int = Field(default=0, ge=0, description="Steps taken since the last reset")


class BaseMessage(BaseModel):
    """The base of the contract's messages and descriptions. Unknown fields are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", validate_assignment=True)


class EnvironmentMetadata(BaseMessage):
    """The description of an environment at ``GET /metadata``."""

    name: str = Field(description="The environment's name")
    description: str = Field(description="One sentence on what it is")
    readme_content: str | None = Field(default=None, description="Its README, as Markdown")
    version: str | None = Field(default=None, description="Its version")
    author: str | None = Field(default=None, description="Who made it")
    documentation_url: str | None = Field(default=None, description="Where to read more")


class CodeExecResult(BaseMessage):
    """The result of code that an environment ran."""

    stdout: str = Field(description="What it wrote to standard output")
    stderr: str = Field(description="What it wrote to standard error")
    exit_code: int = Field(description="Its exit code; 0 is success")


class Message(TypedDict):
    """A message of a conversation, in the form of chat templates."""

    role: str
    content: str


class ModelTokenizer(Protocol):
    """A tokenizer with a chat template, such as those of Hugging Face Transformers."""

    def apply_chat_template(
        self,
        conversation: list[Message],
        tokenize: bool = True,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return a conversation as the model's text, or as its tokens.

        Args:
            conversation: The messages.
            tokenize: Whether to return tokens.
            return_tensors: The kind of tensor for the tokens, ``"pt"`` for PyTorch.
            **kwargs: The tokenizer's own keywords.
        """

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> str:
        """Return the text of tokens.

        Args:
            token_ids: The tokens.
            skip_special_tokens: Whether to leave out special tokens.
            **kwargs: The tokenizer's own keywords.
        """


ObsT = TypeVar("ObsT")


@dataclass
class StepResult(Generic[ObsT]):
    """The result of a client's ``reset`` or ``step``.

    Attributes:
        observation: The observation.
        reward: The reward of the step; None after a reset.
        done: Whether the episode has ended, for any reason.
        metadata: The environment's metadata, sent with the observation.
        truncated: Whether the episode was cut short; None if the server does not report it.
    """

    observation: ObsT
    reward: Scalar | None = None
    done: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    truncated: bool | None = None
