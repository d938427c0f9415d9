"""``openenv validate``: does an environment keep what OpenEnv asks of one?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from openenv_cli.validation.report import Level, Report
from openenv_gym.errors import ConfigurationError


def validate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_URL", help="The environment's folder, with openenv.yaml, or a running server."
        ),
    ] = ".",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Explain what passed, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report to this file, too, as JSON.")
    ] = None,
    level: Annotated[
        Level | None, typer.Option(help="How far to go. Default: as far as can be gone here.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each start of a server, and for each answer.")
    ] = 60.0,
) -> None:
    """Checks an environment: its files, its running server, and its image.

    The level static reads the files. The level runtime also starts the server, on a free port of this
    machine, drives it as a trainer does, and starts it in each other way that it can be deployed. The level
    container also builds the image and runs it, which needs a Docker engine.

    Exit codes: 0 no check failed (there may be warnings), 1 a check failed, 2 this is no environment, 4 no
    way to the server. docs/validate.md says what each check looks at, and what to do.

    Examples:
        openenv validate

        openenv validate ./my_env --verbose

        openenv validate http://localhost:8000

        openenv validate --level static --json --output report.json
    """
    from openenv_cli.validation.show import Show
    from openenv_cli.validation.validating import validate_folder, validate_url

    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"--output {output}: the folder {output.absolute().parent} does not exist")
    show = Show(is_verbose=verbose, to_stderr=json)
    try:
        if "://" not in target:
            report = validate_folder(Path(target), show, level=level, timeout_s=timeout)
        elif level in (None, Level.RUNTIME):
            report = validate_url(target, show, timeout_s=timeout)
        else:
            raise ConfigurationError(
                f"--level {level} needs the environment's folder; of a running server the level is runtime"
            )
    finally:
        show.stop()
    if output is not None:
        _write(report, output)
    show.summary(report)
    if json:
        print(report.model_dump_json(indent=2))
    if not report.passed:
        sys.exit(1)


def _write(report: Report, file: Path) -> None:
    """Writes a report, so that the file is never half written."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
