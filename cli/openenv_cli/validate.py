"""``openenv validate``: check an environment's folder or a running server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from openenv_cli.validation.report import Level, Report, ReportPrinter
from openenv_gym.errors import ConfigurationError


def validate(
    target: Annotated[
        str,
        typer.Argument(metavar="PATH_OR_URL", help="A folder with openenv.yaml, or a running server."),
    ] = ".",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Explain passed checks too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print only the report, as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report to this file, as JSON.")
    ] = None,
    level: Annotated[
        Level | None, typer.Option(help="How far to go. Default: as far as possible here.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each server start and each response.")
    ] = 60.0,
) -> None:
    """Check an environment: its files, its running server, and its image.

    The level static reads the files. The level runtime also starts the server on a free port of this
    machine, uses it as a trainer does, and starts it in each other way that it can be deployed. The level
    container also builds and runs the image, which needs a Docker engine.

    Exit codes: 0 no check failed (there may be warnings), 1 a check failed, 2 not an environment, 4 server
    unreachable, 5 refused by the server. docs/validate.md explains each check and what to do.

    Examples:
        openenv validate

        openenv validate ./my_env --verbose

        openenv validate http://localhost:8000

        openenv validate --level static --json --output report.json
    """
    from openenv_cli.validation.run import validate_folder, validate_url

    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"--output {output}: the folder {output.absolute().parent} does not exist.")
    printer = ReportPrinter(is_verbose=verbose, to_stderr=json)
    try:
        if "://" not in target:
            report = validate_folder(Path(target), printer, level=level, timeout_s=timeout)
        elif level in (None, Level.RUNTIME):
            report = validate_url(target, printer, timeout_s=timeout)
        else:
            raise ConfigurationError(
                f"--level {level} requires the environment's folder.",
                advice="For a URL, use --level runtime.",
            )
    finally:
        printer.stop()
    if output is not None:
        _write(report, output)
    printer.summary(report)
    if json:
        print(report.model_dump_json(indent=2))
    if not report.passed:
        sys.exit(1)


def _write(report: Report, file: Path) -> None:
    """Write a report atomically."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
