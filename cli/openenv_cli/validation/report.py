"""What a validation found; ``docs/validate.md`` has an example of its JSON."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field


class Level(StrEnum):
    """How far a validation goes; each level has those before it in it."""

    STATIC = "static"
    RUNTIME = "runtime"
    CONTAINER = "container"


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"


class CheckResult(BaseModel):
    """One check, and what came of it."""

    id: str = Field(description="The check's name, as in docs/validate.md")
    title: str = Field(description="What is so where the check passes")
    level: Level
    outcome: Outcome
    detail: str = Field(description="What was found, and what was expected where that is something else")
    fix: str = Field(default="", description="What to do next; empty where there is nothing to do")
    blocked_by: str = Field(
        default="", description="The check that did not pass, where this one was skipped for it"
    )
    notes: list[str] = Field(default_factory=list, description="What was noticed beside it")
    duration_s: float


ModeName = Literal["openenv serve", "uv run server", "python -m", "docker"]


class Mode(BaseModel):
    """A way in which the environment can be deployed."""

    name: ModeName
    works: bool | None = Field(description="null where it was not tried")
    reason: str = Field(description="How it was started, or why it does not work or was not tried")


class Report(BaseModel):
    """All that a validation found."""

    format: Literal[1] = Field(default=1, description="The version of this format")
    target: str = Field(description="The folder, or the URL")
    name: str = Field(description="What the environment calls itself")
    level: Level = Field(description="How far the validation went")
    passed: bool = Field(description="Whether no check failed")
    checks: list[CheckResult]
    modes: list[Mode] = Field(description="Empty where a URL was validated, or the files alone")
    left_out: list[str] = Field(description="What was not looked at, and why")
    duration_s: float
    version: str = Field(description="The version of openenv-gym")

    def count(self) -> Counter[Outcome]:
        """How many checks had each outcome."""
        return Counter(check.outcome for check in self.checks)
