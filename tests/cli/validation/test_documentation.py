"""`docs/validate.md` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from openenv_cli.validation.check import Check
from openenv_cli.validation.modes import MODE_CHECKS
from openenv_cli.validation.report import Report
from openenv_cli.validation.server import START_CHECKS, STOP_CHECKS
from openenv_cli.validation.validating import SERVER_CHECKS, STATIC_CHECKS

CHECKS: list[Check] = [*STATIC_CHECKS, *START_CHECKS, *SERVER_CHECKS, *STOP_CHECKS, *MODE_CHECKS]
TEXT = (Path(__file__).parents[3] / "docs" / "validate.md").read_text()


def test_the_tables_are_the_checks_in_their_order() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.+?) \| .+ \| .+ \|$", TEXT, re.MULTILINE)
    assert rows == [(check.id, check.title) for check in CHECKS]


def test_a_check_needs_only_checks_that_come_before_it() -> None:
    before: set[str] = set()
    for check in CHECKS:
        assert set(check.needs) <= before, check.id
        before.add(check.id)


def test_the_example_is_a_report() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    report = Report.model_validate_json(example, strict=True)
    for model in (report, *report.checks, *report.modes):
        assert set(type(model).model_fields) == model.model_fields_set
