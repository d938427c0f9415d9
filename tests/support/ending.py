"""An application whose environment ends its own process."""

from __future__ import annotations

import os
from typing import Any

from openenv_server import create_app

from tests.support.environments import CountAction, Counter, CountObservation

END_IN_STEP, END_IN_RESET = 99, 13


class Ending(Counter):
    """A counter whose process ends in a step with `END_IN_STEP`, and in a reset with that seed."""

    def reset(self, seed: int | None = None, **options: Any) -> CountObservation:  # type: ignore[override]
        if seed == END_IN_RESET:
            print("the end in reset", flush=True)
            os._exit(4)
        return super().reset(seed, **options)

    def step(self, action: CountAction) -> CountObservation:
        if action.amount == END_IN_STEP:
            print("the end in step", flush=True)
            os._exit(3)
        return super().step(action)


app = create_app(Ending, CountAction, CountObservation, env_name="ending")
