"""``openenv validate``: check an environment's folder or a running server."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from openenv_cli.validation.report import Level, Report, ReportPrinter
from openenv_gym.errors import ConfigurationError


class Ceiling(StrEnum):
    """The values of ``--level``: the levels, and the published command's name for all of them."""

    STATIC = "static"
    RUNTIME = "runtime"
    CONTAINER = "container"
    SEMANTIC = "semantic"


def validate(
    target: Annotated[
        str | None,
        typer.Argument(metavar="PATH_OR_URL", help="A folder with openenv.yaml, or a running server."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="The running server, as an option.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Check a folder, which is the default.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Explain passed checks too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print only the report, as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report to this file, as JSON.")
    ] = None,
    level: Annotated[
        Ceiling, typer.Option(help="How far to go. semantic: as far as possible here.")
    ] = Ceiling.SEMANTIC,
    skip_build: Annotated[
        bool, typer.Option("--skip-build", help="Build no image, so stop before the level container.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each server start and each response.")
    ] = 60.0,
) -> None:
    """Check an environment's files, running server and image.

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

        openenv validate ./my_env --skip-build
    """
    from openenv_cli.validation.run import validate_folder, validate_url

    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"--output {output}: the folder {output.absolute().parent} does not exist.")
    if url is not None and (target is not None or local):
        raise ConfigurationError(
            f"--url {url} cannot be combined with {f'the target {target}' if target else '--local'}.",
            advice="Pass one of them.",
        )
    target = url or target or "."
    if local and "://" in target:
        raise ConfigurationError(f"--local requires a folder, not {target}.")
    wanted = None if level is Ceiling.SEMANTIC else Level(level)
    printer = ReportPrinter(is_verbose=verbose, to_stderr=json)
    try:
        if "://" not in target and url is None:
            report = validate_folder(
                Path(target), printer, level=wanted, timeout_s=timeout, skip_build=skip_build
            )
        elif wanted in (None, Level.RUNTIME):
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
        print(_json_of(report))
    if not report.passed:
        sys.exit(1)


def _write(report: Report, file: Path) -> None:
    """Write a report atomically."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(f"{_json_of(report)}\n", encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _json_of(report: Report) -> str:
    import json

    from openenv_cli.output import json_text

    # Not `model_dump_json`, which fails if a server's text has a lone surrogate.
    return json_text(json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False))
