"""The report of a validation: its JSON (see ``docs/validate.md``), and its lines in the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from rich.status import Status


class Level(StrEnum):
    """How far a validation goes. Each level includes the ones before it."""

    STATIC = "static"
    RUNTIME = "runtime"
    CONTAINER = "container"


class Outcome(StrEnum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"


class CheckReport(BaseModel):
    """A check and its result."""

    id: str = Field(description="The check's name, as in docs/validate.md")
    title: str = Field(description="What holds if the check passes")
    level: Level
    outcome: Outcome
    detail: str = Field(description="What was found, and what was expected if that differs")
    fix: str = Field(default="", description="What to do next; empty if there is nothing to do")
    blocked_by: str = Field(
        default="", description="If the check was skipped because of another one: the one that did not pass"
    )
    notes: list[str] = Field(default_factory=list, description="Further observations")
    duration_s: float


ModeName = Literal["openenv serve", "uv run server", "python -m", "docker"]


class Mode(BaseModel):
    """A way to deploy the environment."""

    name: ModeName
    works: bool | None = Field(description="null if it was not tried")
    reason: str = Field(description="How it was started, or why it does not work or was not tried")


class Report(BaseModel):
    """The result of a validation."""

    format: Literal[1] = Field(default=1, description="The version of this format")
    target: str = Field(description="The folder, or the URL")
    name: str = Field(description="The environment's name")
    level: Level = Field(description="How far the validation went")
    passed: bool = Field(description="Whether no check failed")
    checks: list[CheckReport]
    modes: list[Mode] = Field(description="Empty for a URL, and at the level static")
    left_out: list[str] = Field(description="What was not checked, and why")
    duration_s: float
    version: str = Field(description="The version of openenv-gym")

    def count(self) -> Counter[Outcome]:
        """The number of checks by outcome."""
        return Counter(check.outcome for check in self.checks)


_MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.WARNING: ("!", "yellow"),
    Outcome.SKIPPED: ("-", "dim"),
}
_PLURALS = {Outcome.WARNING: "warnings"}


class ReportPrinter:
    """Prints a line for each check as it ends, then a summary.

    Args:
        is_verbose: Whether to explain passed checks too, with their notes.
        to_stderr: Whether standard output is reserved for the JSON. Lines then go to standard error, and
            only if that is a terminal.
    """

    def __init__(self, *, is_verbose: bool, to_stderr: bool) -> None:
        from openenv_cli.console import Console

        self._is_verbose = is_verbose
        for stream in (sys.stdout, sys.stderr):
            # A log may have characters that the terminal's encoding lacks.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        self._console = Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)
        # The spinner needs a terminal; if standard output is a pipe, standard error may be one.
        spinner = self._console if self._console.is_terminal else Console(stderr=True)
        self._is_quiet = to_stderr and not self._console.is_terminal
        self._blocked: Counter[str] = Counter()
        self._failures: list[CheckReport] = []
        self._status: Status | None = spinner.status("") if spinner.is_terminal else None

    def begins(self, title: str) -> None:
        """Show the current check."""
        from rich.text import Text

        if self._status is not None:
            self._status.update(Text(f"{title}…"))
            self._status.start()

    def ends(self, result: CheckReport) -> None:
        """Print a check's result."""
        if self._is_quiet:
            return
        if result.outcome is Outcome.FAILED:
            self._failures.append(result)
        if result.blocked_by and not self._is_verbose:
            # One line each would bury the failure that caused them.
            self._blocked[result.blocked_by] += 1
            return
        mark, style = _MARKS[result.outcome]
        took = f"  ({result.duration_s:.1f} s)" if result.duration_s >= 1 else ""
        self._line(f"{mark} {result.title}  [{result.id}]{took}", style)
        if self._is_verbose or result.outcome is not Outcome.PASSED:
            self._indented(result.detail)
            if result.fix:
                self._indented(f"→ {result.fix}")
        if self._is_verbose:
            for note in result.notes:
                self._indented(f"note: {note}")

    def stop(self) -> None:
        """Remove the spinner."""
        if self._status is not None:
            self._status.stop()

    def summary(self, report: Report) -> None:
        """Print skipped checks, modes, counts, the failures again, and the verdict."""
        self.stop()
        if self._is_quiet:
            return
        for root, count in self._blocked.items():
            what = "1 check was" if count == 1 else f"{count} checks were"
            self._line(f"- {what} skipped because {root} did not pass", "dim")
        if report.modes:
            self._line("\nDeployment modes")
        for mode in report.modes:
            self._mode(mode)
        counts = report.count()
        numbers = ", ".join(
            f"{counts[outcome]} {_PLURALS.get(outcome, outcome)}" if counts[outcome] != 1 else f"1 {outcome}"
            for outcome in Outcome
            if counts[outcome]
        )
        self._line(f"\n{numbers} in {report.duration_s:.1f} s")
        for left_out in report.left_out:
            self._line(f"Not checked: {left_out}")
        if self._failures:
            # They may have scrolled out of sight.
            self._line("\nFailures")
        for failure in self._failures:
            first = failure.detail.splitlines()[0] if failure.detail else ""
            self._line(f"✗ {failure.title}  [{failure.id}]: {first}", "bold red")
        verdict = "is valid" if report.passed else "is not valid"
        self._line(f"{report.name} {verdict} ({report.level})", "bold green" if report.passed else "bold red")

    def _mode(self, mode: Mode) -> None:
        outcome = {True: Outcome.PASSED, False: Outcome.FAILED, None: Outcome.SKIPPED}[mode.works]
        mark, style = _MARKS[outcome]
        self._line(f"{mark} {mode.name}: {mode.reason}", style)

    def _indented(self, text: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        if self._console.is_terminal:
            self._console.print(Padding(Text(text), (0, 0, 0, 4)))
            return
        for line in text.splitlines():
            self._line(f"    {line}")

    def _line(self, text: str, style: str = "") -> None:
        from rich.text import Text

        # `print(…, style=)` would colour the spinner too.
        self._console.print(Text(text, style), soft_wrap=True)
