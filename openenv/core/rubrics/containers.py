"""Rubrics made of rubrics."""

from openenv_server.rubrics import Gate, RubricDict, RubricList, Sequential, WeightedSum

__all__ = ["Gate", "RubricDict", "RubricList", "Sequential", "WeightedSum"]
