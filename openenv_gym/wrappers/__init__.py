"""Wrappers for libraries that do not support `Dict`, `Text`, `Sequence` or `OneOf` spaces, and action masks.

They build on Gymnasium's wrappers (`TransformAction`, `TransformObservation`, `FlattenObservation`), and work
with any environment, not only with remote ones.
"""

from __future__ import annotations

from openenv_gym.wrappers.actions import FlatAction
from openenv_gym.wrappers.flatten import flatten_for_rl
from openenv_gym.wrappers.masks import ActionMask
from openenv_gym.wrappers.observations import FixedSizeObservation

__all__ = ["ActionMask", "FixedSizeObservation", "FlatAction", "flatten_for_rl"]
