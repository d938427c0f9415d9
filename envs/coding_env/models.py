"""The action and the observation."""

from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class CodingAction(Action):
    """A program to run."""

    code: str = Field(max_length=200_000, description="Python source", examples=["print(6 * 7)"])
    stdin: str = Field(default="", max_length=1_000_000, description="The program's standard input")


class CodingObservation(Observation):
    """The result of a program."""

    stdout: str = Field(default="", description="The standard output")
    stderr: str = Field(default="", description="The standard error")
    exit_code: int = Field(
        default=0,
        ge=-64,
        le=255,
        description="The exit code, or minus the number of the signal that ended it",
    )
    timed_out: bool = Field(default=False, description="Whether it ran out of time or CPU time")
    stdout_truncated: bool = Field(default=False, description="Whether stdout is cut")
    stderr_truncated: bool = Field(default=False, description="Whether stderr is cut")


class CodingState(State):
    """The state of the session.

    Attributes:
        isolation: How programs are confined: "namespaces", "landlock" or "limits".
        duration_s: Seconds that the last program took. Not in the observation, so that the same actions
            give the same observations.
    """

    isolation: str = ""
    duration_s: float = 0.0
