"""What a check is, and how checks are run one after the other."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from openenv_cli.validation.report import CheckResult, Level, Outcome
from openenv_gym.errors import OpenEnvError

SubjectT = TypeVar("SubjectT")

# A server writes its log, and it is read, beside the answer that says that something failed.
_LOG_DELAY_S = 0.3
_GYMNASIUM_MARKS = re.compile(r"\x1b\[\d+m|WARN: ")


class Finding(NamedTuple):
    """What a check found; the fields are those of `CheckResult`."""

    outcome: Outcome
    detail: str
    fix: str = ""
    notes: tuple[str, ...] = ()
    blocked_by: str = ""


def passed(detail: str, *, notes: Iterable[str] = ()) -> Finding:
    """All is as it should be."""
    return Finding(Outcome.PASSED, detail, notes=tuple(notes))


def failed(detail: str, fix: str, *, notes: Iterable[str] = ()) -> Finding:
    """The environment is not valid."""
    return Finding(Outcome.FAILED, detail, fix, tuple(notes))


def warning(detail: str, fix: str, *, notes: Iterable[str] = ()) -> Finding:
    """The environment works, and could be better."""
    return Finding(Outcome.WARNING, detail, fix, tuple(notes))


def skipped(detail: str, fix: str = "") -> Finding:
    """There was nothing to check, or no way to."""
    return Finding(Outcome.SKIPPED, detail, fix)


@dataclass(frozen=True)
class Check(Generic[SubjectT]):
    """One thing to look at.

    Attributes:
        id: Its name, ``area.what``.
        title: What is so where it passes.
        look: Looks at the subject. An `OpenEnvError` or an `OSError` that it raises is a failure; what it
            warns of becomes a note.
        fix: What to do where it raises.
        needs: The checks without which this one says nothing: where one of them did not pass, this one is
            skipped.
    """

    id: str
    title: str
    look: Callable[[SubjectT], Finding]
    fix: str = ""
    needs: tuple[str, ...] = ()


class Listener(Protocol):
    """Is told how a validation goes."""

    def begins(self, title: str) -> None:
        """A check begins."""

    def ends(self, result: CheckResult) -> None:
        """A check has ended."""


class Silence:
    """A listener for those who want the report alone."""

    def begins(self, title: str) -> None:
        pass

    def ends(self, result: CheckResult) -> None:
        pass


class Progress:
    """The results so far.

    Args:
        listener: Is told of each check as it begins and ends.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.results: dict[str, CheckResult] = {}

    def run(
        self,
        level: Level,
        checks: Iterable[Check[SubjectT]],
        subject: SubjectT,
        *,
        words: Callable[[], str] = str,
    ) -> None:
        """Runs checks in their order.

        Args:
            level: The level that they are of.
            checks: The checks.
            subject: What they look at.
            words: What has been written to the subject's log since the last call; a failure shows it.
        """
        for check in checks:
            self._listener.begins(check.title)
            begin = time.monotonic()
            finding = self._blocked(check) or _look(check, subject)
            if finding.outcome is Outcome.FAILED and words is not str:
                time.sleep(_LOG_DELAY_S)
            said = words().strip()
            if finding.outcome is Outcome.FAILED and said and said not in finding.detail:
                finding = finding._replace(detail=f"{finding.detail}\nThe server's log says:\n{said}")
            result = CheckResult(
                id=check.id,
                title=check.title,
                level=level,
                duration_s=round(time.monotonic() - begin, 3),
                **{**finding._asdict(), "notes": list(finding.notes)},
            )
            self.results[check.id] = result
            self._listener.ends(result)

    def did_pass(self, check_id: str) -> bool:
        """Whether a check passed, if with a warning."""
        result = self.results.get(check_id)
        return result is not None and result.outcome in (Outcome.PASSED, Outcome.WARNING)

    def _blocked(self, check: Check[SubjectT]) -> Finding | None:
        # Of a URL there are no files, and nothing to start: those checks were not run.
        missing = [need for need in check.needs if need in self.results and not self.did_pass(need)]
        if not missing:
            return None
        # That one may have been skipped for another one: this is to be mended.
        root = self.results[missing[0]].blocked_by or missing[0]
        return Finding(Outcome.SKIPPED, f"Not looked at, as {root} did not pass", blocked_by=root)


def _look(check: Check[SubjectT], subject: SubjectT) -> Finding:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            finding = check.look(subject)
        except (OpenEnvError, OSError) as error:
            finding = failed(str(error), check.fix)
    warned = dict.fromkeys(_plain(str(warned.message)) for warned in caught)
    return finding._replace(notes=(*finding.notes, *warned))


def _plain(text: str) -> str:
    """A warning of Gymnasium's without its colours and its level."""
    return _GYMNASIUM_MARKS.sub("", text)
