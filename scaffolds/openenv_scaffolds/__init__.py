"""What `openenv init` renders, the base image, and the workflow that builds images."""

from __future__ import annotations

from openenv_scaffolds.names import Names
from openenv_scaffolds.rendering import Template, render_environment

__all__ = ["Names", "Template", "render_environment"]
