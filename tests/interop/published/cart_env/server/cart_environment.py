"""The environment."""

from __future__ import annotations

from typing import Any

from cart_env.models import CartAction, CartObservation, CartState

from openenv.core.env_server.interfaces import Environment


class CartEnvironment(Environment):
    """A cart on a rail."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = CartState()

    def reset(self, seed: int | None = None, episode_id: str | None = None) -> CartObservation:
        self._state = CartState(episode_id=episode_id, where=seed or 0)
        return CartObservation(position=self._state.where)

    def step(self, action: CartAction, timeout_s: float | None = None, **kwargs: Any) -> CartObservation:
        self._state.step_count += 1
        self._state.pushes.append(action.push)
        self._state.where += action.push
        return CartObservation(
            position=self._state.where,
            reward=float(action.push),
            done=self._state.where == 3,
            metadata={"pushes": len(self._state.pushes), **kwargs},
        )

    @property
    def state(self) -> CartState:
        return self._state
