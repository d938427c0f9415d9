"""Wrappers for libraries that do not support `Dict`, `Text`, `Sequence` or `OneOf` spaces.

They build on Gymnasium's wrappers (`TransformAction`, `TransformObservation`, `FlattenObservation`), and work
with any environment, not only with remote ones.
"""

from __future__ import annotations

from openenv_gym.wrappers.actions import FlatAction
from openenv_gym.wrappers.flatten import flatten_for_rl
from openenv_gym.wrappers.observations import FixedSizeObservation

__all__ = ["FixedSizeObservation", "FlatAction", "flatten_for_rl"]
