"""The base class of rubrics."""

from openenv_server.rubrics import Rubric

__all__ = ["Rubric"]
