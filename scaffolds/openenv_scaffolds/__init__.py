"""The templates of `openenv init`, the base image, and the workflow that builds images."""

from __future__ import annotations

from openenv_scaffolds.names import Names, nearest_name
from openenv_scaffolds.rendering import WORKFLOW, Template, render_environment, render_workflow

__all__ = ["WORKFLOW", "Names", "Template", "nearest_name", "render_environment", "render_workflow"]
