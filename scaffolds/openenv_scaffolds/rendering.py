"""From templates to an environment's folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from openenv_scaffolds.names import Names

Template = Literal["echo", "gym", "array", "chat"]
_TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".j2"
# Where the files that each template has of its own go.
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
    details: Mapping[str, str] | None = None,
) -> None:
    """Writes an environment's files.

    Args:
        folder: The folder, which exists.
        template: What kind of an environment it is.
        names: The names in its code.
        requirements: What it needs, as in a pyproject.toml.
        distribution: The name of the distribution with the server.
        source: Where uv finds that one, as a TOML value; None where the index has it.
        details: What the template says of the environment in particular: the ``gym_id``, say.
    """
    details = dict(details or {})
    about = tomllib.loads((_TEMPLATES / template / "template.toml").read_text(encoding="utf-8"))
    context: dict[str, Any] = {
        **details,
        "names": names,
        "distribution": distribution,
        "source": source,
        "requirements": [*requirements, *about.get("requirements", [])],
        "summary": about["summary"].format(**details),
        "rules": about["rules"].format(**details),
        "example_action": about["example_action"].format(**details),
        "fields": [[cell.format(**details) for cell in row] for row in about["fields"]],
    }
    jinja = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
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
