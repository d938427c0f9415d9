"""Connect-four as most board games on servers are: the observation lists the legal actions."""

from __future__ import annotations

from typing import Annotated

from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import Field

from tests.trainers.environments import COLUMNS, ROWS, ConnectFour

Cell = Annotated[int, Field(ge=0, le=2)]
Row = Annotated[list[Cell], Field(min_length=COLUMNS, max_length=COLUMNS)]


class Drop(Action):
    column: int = Field(ge=0, le=COLUMNS - 1)


class Board(Observation):
    board: Annotated[list[Row], Field(min_length=ROWS, max_length=ROWS)]
    legal_actions: list[Annotated[int, Field(ge=0, le=COLUMNS - 1)]] = Field(max_length=COLUMNS)


class ConnectFourGame(Environment[Drop, Board, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._game = ConnectFour()

    def reset(self, seed: int | None = None) -> Board:
        self._game.reset(seed=seed)
        return self._observe(0.0, False)

    def step(self, action: Drop) -> Board:
        _, reward, is_over, _, _ = self._game.step(action.column)
        return self._observe(reward, is_over)

    def _observe(self, reward: float, is_over: bool) -> Board:
        game = self._game
        return Board(
            board=game.board.tolist(), legal_actions=game.legal_actions(), reward=reward, done=is_over
        )

    @property
    def state(self) -> State:
        return State()


app = create_app(ConnectFourGame, Drop, Board, env_name="connect_four", max_concurrent_envs=64)
