"""Clients and action classes by name."""

from openenv_gym.auto import AutoAction, AutoEnv

__all__ = ["AutoAction", "AutoEnv"]
