"""Rewards as objects: score a step, an episode, or a model's answer, and combine the scores.

reward = WeightedSum([Compiles(), Passes()], weights=[0.3, 0.7])
reward(action, observation)                        # 0.65
dict(reward.named_rubrics())["rubric_1"].last_score  # 0.5
"""

from openenv_server.rubrics.containers import Gate, RubricDict, RubricList, Sequential, WeightedSum
from openenv_server.rubrics.judge import LLMJudge
from openenv_server.rubrics.rubric import Rubric
from openenv_server.rubrics.trajectory import ExponentialDiscountingTrajectoryRubric, TrajectoryRubric

__all__ = [
    "ExponentialDiscountingTrajectoryRubric",
    "Gate",
    "LLMJudge",
    "Rubric",
    "RubricDict",
    "RubricList",
    "Sequential",
    "TrajectoryRubric",
    "WeightedSum",
]
