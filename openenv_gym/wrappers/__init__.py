"""Wrappers for libraries that take no `Dict`, `Text`, `Sequence` or `OneOf`.

They stand on Gymnasium's own (`TransformAction`, `TransformObservation`, `FlattenObservation`), and work on
any environment, not only on remote ones.
"""

from __future__ import annotations

from openenv_gym.wrappers.actions import FlatAction
from openenv_gym.wrappers.flatten import flatten_for_rl
from openenv_gym.wrappers.observations import FixedSizeObservation

__all__ = ["FixedSizeObservation", "FlatAction", "flatten_for_rl"]
