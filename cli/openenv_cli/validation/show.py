"""A validation as a person sees it: a line a check as it ends, then the summary."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from openenv_cli.validation.report import CheckResult, Mode, Outcome, Report

if TYPE_CHECKING:
    from rich.status import Status

_MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.WARNING: ("!", "yellow"),
    Outcome.SKIPPED: ("-", "dim"),
}
_PLURALS = {Outcome.WARNING: "warnings"}


class Show:
    """Writes lines to standard output, and to standard error where that is for the report alone.

    Args:
        is_verbose: Whether what passed is explained too, with its notes.
        to_stderr: Whether standard output is for the report alone; lines are shown on a terminal only then.
    """

    def __init__(self, *, is_verbose: bool, to_stderr: bool) -> None:
        from rich.console import Console

        self._is_verbose = is_verbose
        for stream in (sys.stdout, sys.stderr):
            # A log may have characters that the terminal has not.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        self._console = Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)
        # Progress that is written over itself is for a terminal.
        moving = self._console if self._console.is_terminal else Console(stderr=True)
        self._is_quiet = to_stderr and not self._console.is_terminal
        self._blocked: Counter[str] = Counter()
        self._failures: list[CheckResult] = []
        self._status: Status | None = moving.status("") if moving.is_terminal else None

    def begins(self, title: str) -> None:
        """Shows what is looked at now."""
        from rich.text import Text

        if self._status is not None:
            self._status.update(Text(f"{title}…"))
            self._status.start()

    def ends(self, result: CheckResult) -> None:
        """Shows what came of it."""
        if self._is_quiet:
            return
        if result.outcome is Outcome.FAILED:
            self._failures.append(result)
        if result.blocked_by and not self._is_verbose:
            # So many lines would hide the failure that they come from.
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
        """Takes the moving line away."""
        if self._status is not None:
            self._status.stop()

    def summary(self, report: Report) -> None:
        """Shows what was skipped, the modes, the counts, the failures once more, and the verdict."""
        self.stop()
        if self._is_quiet:
            return
        for root, count in self._blocked.items():
            what = "1 check was" if count == 1 else f"{count} checks were"
            self._line(f"- {what} skipped, as {root} did not pass", "dim")
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
            self._line(f"Left out: {left_out}")
        if self._failures:
            # Above, they may have scrolled away.
            self._line("\nWhat failed")
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

        # Not `print(…, style=)`, which would colour the moving line too.
        self._console.print(Text(text, style), soft_wrap=True)
