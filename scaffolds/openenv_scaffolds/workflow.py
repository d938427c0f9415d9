"""The workflow that builds the images of a repository's environments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

WORKFLOW = ".github/workflows/docker-build.yml"


def render_workflow(dockerfiles: Mapping[str, str]) -> str:
    """The workflow, with an image in its matrix for each environment.

    Args:
        dockerfiles: From the name of an image to its Dockerfile, from the root of the repository.
    """
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        # ${{ … }} is the workflow's own.
        variable_start_string="[[",
        variable_end_string="]]",
    )
    return jinja.get_template("docker-build.yml.j2").render(dockerfiles=dockerfiles)
