"""An environment that writes down each step it takes: what was done once, twice or never can be counted."""

from __future__ import annotations

import os
import time

from openenv_server import Action, Environment, Observation, State, create_app


class Number(Action):
    """The number of a step; the caller never repeats one."""

    number: int
    sleep_s: float = 0.0


class Counted(Observation):
    """The number of the last step."""

    number: int
    pad: str = ""


class Counting(Environment[Number, Counted, State]):
    """Appends the number of each step to the file that the variable `STEPS_DONE` names."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._file = os.open(os.environ["STEPS_DONE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def reset(self, seed: int | None = None) -> Counted:
        return Counted(number=-1)

    def step(self, action: Number) -> Counted:
        time.sleep(action.sleep_s)
        os.write(self._file, b"%d\n" % action.number)
        return Counted(number=action.number, reward=1.0)

    @property
    def state(self) -> State:
        return State()

    def close(self) -> None:
        os.close(self._file)


app = create_app(Counting, Number, Counted, env_name="counting")
