"""Render an environment's folder, and the workflow that builds images, from templates."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from openenv_scaffolds.names import Names

Template = Literal["echo", "gym", "array", "chat"]
WORKFLOW = ".github/workflows/docker-build.yml"
_TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".j2"
# The files in each template's own folder, and where they go.
_OWN = {
    "models.py": "models.py",
    "environment.py": "server/{names.environment_module}.py",
    "test.py": "tests/test_{names.package}.py",
}


def render_environment(
    folder: Path,
    template: Template,
    names: Names,
    *,
    requirements: list[str],
    distribution: str,
    source: str | None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write an environment's files.

    Args:
        folder: An existing folder.
        template: The template.
        names: The names in the code.
        requirements: The dependencies, as in a ``pyproject.toml``.
        distribution: The name of the distribution with the server.
        source: The uv source of that distribution, as a TOML value; None for the index.
        details: Values for the template's texts and code, such as ``gym_id``.
    """
    details = dict(details or {})
    texts = tomllib.loads((_TEMPLATES / template / "template.toml").read_text(encoding="utf-8"))
    context: dict[str, Any] = {
        **details,
        "names": names,
        "distribution": distribution,
        "source": source,
        "requirements": [*requirements, *texts.get("requirements", [])],
        "summary": texts["summary"].format(**details),
        "rules": texts["rules"].format(**details),
        "example_action": texts["example_action"].format(**details),
        "fields": [[cell.format(**details) for cell in row] for row in texts["fields"]],
    }
    jinja = _jinja(lstrip_blocks=True)
    targets = {
        path.relative_to(_TEMPLATES): str(path.relative_to(_TEMPLATES / "project")).removesuffix(_SUFFIX)
        for path in sorted((_TEMPLATES / "project").rglob(f"*{_SUFFIX}"))
    }
    for name, target in _OWN.items():
        targets[Path(template) / f"{name}{_SUFFIX}"] = target.format(names=names)
    for path, target in targets.items():
        written = folder / target
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(jinja.get_template(path.as_posix()).render(context), encoding="utf-8")


def render_workflow(dockerfiles: Mapping[str, str]) -> str:
    """Render the workflow, with one image in its matrix for each environment.

    Args:
        dockerfiles: The Dockerfile of each image by the image's name, relative to the repository's root.
    """
    # The workflow itself uses ${{ … }}.
    jinja = _jinja(variable_start_string="[[", variable_end_string="]]")
    return jinja.get_template("docker-build.yml.j2").render(dockerfiles=dockerfiles)


def _jinja(**options: Any) -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        **options,
    )
