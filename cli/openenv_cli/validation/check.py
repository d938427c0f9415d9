"""A check, its result, and a runner for checks."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from openenv_cli.validation.report import CheckReport, Level, Outcome
from openenv_gym.errors import OpenEnvError

SubjectT = TypeVar("SubjectT")

# The server's log is read in another thread, and may arrive after the response.
_LOG_DELAY_S = 0.3
_GYMNASIUM_MARKS = re.compile(r"\x1b\[\d+m|WARN: ")


class CheckResult(NamedTuple):
    """The result of a check. The fields are those of `CheckReport`."""

    outcome: Outcome
    detail: str
    fix: str = ""
    notes: tuple[str, ...] = ()
    blocked_by: str = ""


def passed(detail: str, *, notes: Iterable[str] = ()) -> CheckResult:
    """Nothing to complain about."""
    return CheckResult(Outcome.PASSED, detail, notes=tuple(notes))


def failed(detail: str, fix: str, *, notes: Iterable[str] = ()) -> CheckResult:
    """The environment is not valid."""
    return CheckResult(Outcome.FAILED, detail, fix, tuple(notes))


def warning(detail: str, fix: str, *, notes: Iterable[str] = ()) -> CheckResult:
    """The environment works, but could be better."""
    return CheckResult(Outcome.WARNING, detail, fix, tuple(notes))


def skipped(detail: str, fix: str = "") -> CheckResult:
    """The check does not apply, or cannot run here."""
    return CheckResult(Outcome.SKIPPED, detail, fix)


def counted(number: int, noun: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class Check(Generic[SubjectT]):
    """A check of a subject: a folder, a server or an image.

    Attributes:
        id: Its name, ``area.what``.
        title: What holds if it passes.
        run: Checks the subject. An `OpenEnvError` or `OSError` that it raises is a failure; its warnings
            become notes.
        fix: What to do if it raises.
        needs: The checks that this one builds on. If one of them does not pass, this one is skipped.
    """

    id: str
    title: str
    run: Callable[[SubjectT], CheckResult]
    fix: str = ""
    needs: tuple[str, ...] = ()


class Listener(Protocol):
    """Follows a validation."""

    def begins(self, title: str) -> None:
        """A check starts."""

    def ends(self, result: CheckReport) -> None:
        """A check has ended."""


class Silent:
    """A listener that does nothing."""

    def begins(self, title: str) -> None:
        pass

    def ends(self, result: CheckReport) -> None:
        pass


class Runner:
    """Runs checks and collects their results.

    Args:
        listener: Is told when each check starts and ends.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.results: dict[str, CheckReport] = {}

    def run(
        self,
        level: Level,
        checks: Iterable[Check[SubjectT]],
        subject: SubjectT,
        *,
        new_log: Callable[[], str] | None = None,
    ) -> None:
        """Run checks in order.

        Args:
            level: Their level.
            checks: The checks.
            subject: The subject.
            new_log: Returns what the subject has logged since the last call; added to failures.
        """
        for check in checks:
            self._listener.begins(check.title)
            start = time.monotonic()
            result = self._blocked(check) or _run(check, subject)
            if new_log is not None:
                if result.outcome is Outcome.FAILED:
                    time.sleep(_LOG_DELAY_S)
                log = new_log().strip()  # read after each check, so that a failure has its own lines only
                if log and result.outcome is Outcome.FAILED:
                    result = result._replace(detail=f"{result.detail}\nThe server's log:\n{log}")
            report = CheckReport(
                id=check.id,
                title=check.title,
                level=level,
                duration_s=round(time.monotonic() - start, 3),
                **{**result._asdict(), "notes": list(result.notes)},
            )
            self.results[check.id] = report
            self._listener.ends(report)

    def has_passed(self, check_id: str) -> bool:
        """Whether a check has passed, possibly with a warning."""
        result = self.results.get(check_id)
        return result is not None and result.outcome in (Outcome.PASSED, Outcome.WARNING)

    def _blocked(self, check: Check[SubjectT]) -> CheckResult | None:
        # Checks that were not run do not block: a URL has no files, for example.
        missing = [need for need in check.needs if need in self.results and not self.has_passed(need)]
        if not missing:
            return None
        # Name the root cause: the missing check may have been skipped because of another one.
        root = self.results[missing[0]].blocked_by or missing[0]
        return CheckResult(Outcome.SKIPPED, f"Skipped because {root} did not pass", blocked_by=root)


def _run(check: Check[SubjectT], subject: SubjectT) -> CheckResult:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = check.run(subject)
        except (OpenEnvError, OSError) as error:
            result = failed(str(error), check.fix)
    notes = dict.fromkeys(_GYMNASIUM_MARKS.sub("", str(warned.message)) for warned in caught)
    return result._replace(notes=(*result.notes, *notes))
