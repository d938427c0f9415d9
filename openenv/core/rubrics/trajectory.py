"""Rubrics that score whole episodes."""

from openenv_server.rubrics import ExponentialDiscountingTrajectoryRubric, TrajectoryRubric

__all__ = ["ExponentialDiscountingTrajectoryRubric", "TrajectoryRubric"]
