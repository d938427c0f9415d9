"""Transforms made of transforms."""

from openenv_server.environment import CompositeTransform, NullTransform

__all__ = ["CompositeTransform", "NullTransform"]
