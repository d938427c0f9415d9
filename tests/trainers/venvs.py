"""The packages of the libraries that people train with, in as few environments as their versions allow."""

from __future__ import annotations

from pathlib import Path

from tests.support.peer import trainer_python

COMMON = ("openenv-gym[cli]", "torch==2.13.0", "pytest>=8.3")
STABLE_BASELINES = ("stable-baselines3==2.9.2", "sb3-contrib==2.9.2", "rl-zoo3==2.9.2")
LANGUAGE_MODELS = ("trl==1.16.0", "verifiers==0.4.0")
# A kernel for notebooks, and what they train with.
NOTEBOOKS = ("openenv-gym[cli,docker,mcp,plot]", "ipykernel>=6.29", "torch==2.13.0", "trl==1.16.0")
TORCHRL = ("torchrl==0.14.1",)
TIANSHOU = ("tianshou[eval]==2.0.1",)
SKRL = ("skrl==2.1.1",)
# It wants exactly TensorDict 0.13, and imports PEFT without asking for it.
AGILERL = ("agilerl==2.58.0", "peft==0.21.0")
# It wants exactly Gymnasium 1.2.2.
RLLIB = ("ray[rllib]==2.60.0", "gymnasium==1.2.2")
# That version's own extra for LunarLander has to be compiled.
BOX2D = ("box2d==2.3.10", "pygame-ce==2.5.8")
# Environments to train in; Atari's preprocessing needs OpenCV.
ENVIRONMENTS = (
    "gymnasium[box2d,mujoco]",
    "ale-py==0.12.1",
    "minigrid==3.2.0",
    "opencv-python-headless>=4.10",
)


def trainers_python() -> Path:
    """The interpreter of the environment that most of them share."""
    return trainer_python(
        *COMMON, *STABLE_BASELINES, *LANGUAGE_MODELS, *TORCHRL, *TIANSHOU, *SKRL, *ENVIRONMENTS
    )


def torch_python() -> Path:
    """The interpreter of an environment with PyTorch."""
    return trainer_python(*COMMON)


def notebooks_python() -> Path:
    """The interpreter of the environment that runs the notebooks."""
    return trainer_python(*NOTEBOOKS)


def agilerl_python() -> Path:
    """The interpreter of the environment with AgileRL."""
    return trainer_python(*COMMON, *AGILERL)


def envpool_python() -> Path:
    """The interpreter of an environment with EnvPool, whose assets are large."""
    return trainer_python("openenv-gym[cli]", "pytest>=8.3", "envpool==1.2.5")


def old_gymnasium_python() -> Path:
    """The interpreter of an environment with RLlib, and with the oldest Gymnasium that works."""
    return trainer_python(*COMMON, *STABLE_BASELINES, *RLLIB, *BOX2D)
