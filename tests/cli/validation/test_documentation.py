"""`docs/validate.md` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from openenv_cli.validation.check import Check
from openenv_cli.validation.image_checks import IMAGE_CHECKS, IMAGE_STOP_CHECKS
from openenv_cli.validation.mode_checks import MODE_CHECKS
from openenv_cli.validation.report import Report
from openenv_cli.validation.run import CONTAINER_CHECKS, SERVER_CHECKS, STATIC_CHECKS
from openenv_cli.validation.server_checks import START_CHECKS, STOP_CHECKS

RUNTIME_CHECKS: list[Check] = [*START_CHECKS, *SERVER_CHECKS, *STOP_CHECKS, *MODE_CHECKS]
TEXT = (Path(__file__).parents[3] / "docs" / "validate.md").read_text()


def test_the_tables_are_the_checks_in_their_order() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.+?) \| .+ \| .+ \|$", TEXT, re.MULTILINE)
    assert rows == [
        (check.id, check.title)
        for check in [*STATIC_CHECKS, *RUNTIME_CHECKS, *IMAGE_CHECKS, *IMAGE_STOP_CHECKS]
    ]


def test_a_check_needs_only_checks_that_come_before_it() -> None:
    before: set[str] = set()
    for check in [*STATIC_CHECKS, *RUNTIME_CHECKS, *CONTAINER_CHECKS]:
        assert set(check.needs) <= before, check.id
        before.add(check.id)


def test_the_example_is_a_report() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    report = Report.model_validate_json(example, strict=True)
    for model in (report, *report.checks, *report.modes):
        assert set(type(model).model_fields) == model.model_fields_set
