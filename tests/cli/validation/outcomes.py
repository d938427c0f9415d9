"""Runs validations in the test's own process, and sums them up."""

from __future__ import annotations

from pathlib import Path

from openenv_cli.validation.report import CheckReport, Level, Outcome, Report
from openenv_cli.validation.run import validate_folder


class Heard:
    """Hears how a validation goes, and keeps nothing."""

    def begins(self, title: str) -> None: ...

    def ends(self, result: CheckReport) -> None: ...


def validate(folder: Path, level: Level, timeout_s: float = 20.0) -> Report:
    return validate_folder(folder, Heard(), level=level, timeout_s=timeout_s)


def objections(report: Report) -> dict[str, Outcome]:
    """The checks that failed or warned."""
    return {
        check.id: check.outcome
        for check in report.checks
        if check.outcome in (Outcome.FAILED, Outcome.WARNING)
    }


def check_of(report: Report, check_id: str) -> CheckReport:
    return next(check for check in report.checks if check.id == check_id)


def edit(file: Path, *changes: tuple[str, str]) -> None:
    """Replaces texts that are there."""
    text = file.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
