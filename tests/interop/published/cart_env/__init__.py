"""A cart on a rail. The folder has no openenv.yaml, and its modules import each other by its name."""

from cart_env.models import CartAction, CartObservation

__all__ = ["CartAction", "CartObservation"]
