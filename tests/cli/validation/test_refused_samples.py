"""Sampled actions that only the model can judge: `validate` warns, and goes on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openenv_cli.validation.report import Outcome
from openenv_cli.validation.server import Server
from openenv_cli.validation.session_checks import GYMNASIUM_CHECKS, SESSION_CHECKS
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import Field, PaymentCardNumber, field_validator

from tests.support.servers import running


class Guess(Action):
    word: str = Field(pattern="^[a-z]+$", min_length=5, max_length=5)


class Payment(Action):
    card: PaymentCardNumber


class Even(Action):
    number: int = Field(ge=0, le=9)

    @field_validator("number")
    @classmethod
    def _is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("an even number")
        return number


class Board(Observation):
    turns: int = 0


class Game(Environment[Any, Board, State]):
    """Counts turns."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, **_: Any) -> Board:
        self._turns = 0
        return Board()

    def step(self, action: Any, **_: Any) -> Board:
        self._turns += 1
        return Board(turns=self._turns, done=self._turns == 6)

    @property
    def state(self) -> State:
        return State()


CHECKS = {check.id: check for check in (*SESSION_CHECKS, *GYMNASIUM_CHECKS)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("action", "outcome", "detail"),
    [
        (Guess, Outcome.PASSED, "sampled actions in"),
        (Payment, Outcome.WARNING, "No sampled action is accepted: .*card"),
        (Even, Outcome.WARNING, r"of \d+ sampled actions were refused.*an even number"),
    ],
)
def test_samples_that_are_refused_are_a_warning(action: type[Action], outcome: Outcome, detail: str) -> None:
    with running(create_app(Game, action, Board, max_concurrent_envs=4)) as base_url:
        server = Server(timeout_s=10, base_url=base_url)
        for name in ("session.step", "session.seed", "gymnasium.check_env"):
            result = CHECKS[name].run(server)
            assert result.outcome in (outcome, Outcome.PASSED), result
            if name == "session.step":
                assert result.outcome is outcome
                assert re.search(detail, result.detail)
                assert "examples" in result.fix or outcome is Outcome.PASSED
