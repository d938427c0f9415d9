"""What an agent sends, and what it gets back."""

from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class CodingAction(Action):
    """A program to run."""

    code: str = Field(max_length=200_000, description="Python source", examples=["print(6 * 7)"])
    stdin: str = Field(
        default="", max_length=1_000_000, description="What the program reads from its standard input"
    )


class CodingObservation(Observation):
    """What came of the program."""

    stdout: str = Field(default="", description="What it wrote to standard output")
    stderr: str = Field(default="", description="What it wrote to standard error")
    exit_code: int = Field(
        default=0,
        ge=-64,
        le=255,
        description="Its exit code, or minus the number of the signal that ended it",
    )
    timed_out: bool = Field(default=False, description="Whether its time, or its processor time, was over")
    stdout_truncated: bool = Field(default=False, description="Whether it wrote more than is kept")
    stderr_truncated: bool = Field(default=False, description="Whether it wrote more than is kept")


class CodingState(State):
    """Where the session stands.

    Attributes:
        isolation: How programs are confined: "namespaces", "landlock" or "limits".
        duration_s: Seconds that the last program took. They are not a part of the observation, which the
            same program gets again.
    """

    isolation: str = ""
    duration_s: float = 0.0
