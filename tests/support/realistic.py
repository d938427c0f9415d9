"""Models of environments as people write them, each different in kind."""

from __future__ import annotations

from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
from pydantic import BaseModel, Field, HttpUrl

from openenv_gym.types import Action, Array, Observation

Percent = Annotated[float, Field(ge=0, le=100)]
Row3 = Annotated[list[Annotated[int, Field(ge=0, le=2)]], Field(min_length=3, max_length=3)]


class TicTacToeMove(Action):
    cell: int = Field(ge=0, le=8)


class TicTacToeBoard(Observation):
    cells: Annotated[list[Row3], Field(min_length=3, max_length=3)]
    to_move: Literal["X", "O"]
    legal: Annotated[list[bool], Field(min_length=9, max_length=9)]


class ChessMove(Action):
    uci: str = Field(pattern=r"^[a-h][1-8][a-h][1-8][qrbn]?$", min_length=4, max_length=5, examples=["e2e4"])
    offer_draw: bool = False


class ChessPosition(Observation):
    fen: str
    legal_moves: list[str]
    winner: Literal["white", "black"] | None = None
    clocks_s: tuple[float, float]


class Suit(StrEnum):
    CLUBS = "clubs"
    DIAMONDS = "diamonds"
    HEARTS = "hearts"
    SPADES = "spades"


class Card(BaseModel):
    suit: Suit
    rank: int = Field(ge=2, le=14)


class PokerBet(Action):
    kind: Literal["fold", "call", "raise"]
    amount: int | None = Field(default=None, ge=1)


class PokerTable(Observation):
    hand: tuple[Card, Card]
    community: list[Card] = Field(max_length=5)
    pot: int = Field(ge=0)


class RunCode(Action):
    code: str
    timeout_s: float = Field(default=30, gt=0, le=600)


class CodeResult(Observation):
    stdout: str
    stderr: str
    exit_code: int
    truncated_output: bool = False


class Click(BaseModel):
    kind: Literal["click"]
    x: int = Field(ge=0, lt=1280)
    y: int = Field(ge=0, lt=720)


class TypeText(BaseModel):
    kind: Literal["type"]
    text: str


class Scroll(BaseModel):
    kind: Literal["scroll"]
    dy: int = Field(ge=-1000, le=1000, multiple_of=10)


class BrowserAction(Action):
    do: Annotated[Click | TypeText | Scroll, Field(discriminator="kind")]


class WebPage(Observation):
    url: HttpUrl
    title: str
    screenshot: Annotated[np.ndarray, Array(np.uint8, (72, 128, 3))]
    links: list[str]


class DomNode(BaseModel):
    tag: str
    text: str = ""
    children: list[DomNode] = Field(default_factory=list)


class Dom(Observation):
    root: DomNode


class ChatMessage(BaseModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


class ChatReply(Action):
    message: str = Field(min_length=1)


class ChatHistory(Observation):
    messages: list[ChatMessage]
    tokens_left: int = Field(ge=0, le=128_000)


class ToolCall(Action):
    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class ToolResult(Observation):
    result: Any = None
    error: str | None = None


class ArmTorques(Action):
    torques: Annotated[np.ndarray, Array(np.float32, (7,), low=-1, high=1)]
    gripper_open: bool


class ArmState(Observation):
    joints: Annotated[np.ndarray, Array(np.float64, (7,), low=-3.15, high=3.15)]
    velocities: Annotated[np.ndarray, Array(np.float64, (7,))]
    touching: Annotated[list[bool], Field(min_length=2, max_length=2)]


class Lidar(Observation):
    ranges: list[float]
    pose: tuple[float, float, float]


class AtariFrame(Observation):
    frame: Annotated[np.ndarray, Array(np.uint8, (210, 160, 3))]


class Button(IntEnum):
    NOOP = 0
    FIRE = 1
    UP = 2


class AtariButton(Action):
    button: Button


class Address(BaseModel):
    street: str
    city: str
    postcode: str = Field(pattern=r"^\d{5}$")


class Customer(BaseModel):
    name: str = Field(min_length=1, max_length=80)
    email: str | None = None
    address: Address | None = None
    tags: set[str] = Field(default_factory=set)


class CrmRecord(Observation):
    customer: Customer
    opened: datetime
    due: date | None = None
    ticket: UUID


class SqlQuery(Action):
    query: str = Field(max_length=10_000)
    parameters: list[int | float | str | bool | None] = Field(default_factory=list)


class SqlRows(Observation):
    columns: list[str]
    rows: list[list[Any]]


class TradeOrder(Action):
    symbol: str = Field(pattern=r"^[A-Z]{1,5}$")
    side: Literal["buy", "sell"]
    quantity: int = Field(gt=0, le=1_000_000)
    limit: float | None = Field(default=None, gt=0)


class Market(Observation):
    prices: dict[str, float]
    cash: float


class ThermostatSetting(Action):
    target_c: float = Field(ge=5, le=35)
    mode: Literal["heat", "cool", "off"] = "off"
    fan: int = Field(default=0, ge=0, le=3)


class MazeView(Observation):
    grid: Annotated[list[list[Literal["#", ".", "G"]]], Field(min_length=1)]
    position: tuple[int, int]


class FileEdit(Action):
    path: str
    patch: str | None = None
    range: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None


class TestReport(Observation):
    __test__ = False
    passed: int = Field(ge=0)
    failed: list[str]
    coverage: Percent | None = None


ENVIRONMENTS: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (
        TicTacToeMove,
        TicTacToeBoard,
        ChessMove,
        ChessPosition,
        PokerBet,
        PokerTable,
        RunCode,
        CodeResult,
        BrowserAction,
        WebPage,
        Dom,
        ChatReply,
        ChatHistory,
        ToolCall,
        ToolResult,
        ArmTorques,
        ArmState,
        Lidar,
        AtariFrame,
        AtariButton,
        CrmRecord,
        SqlQuery,
        SqlRows,
        TradeOrder,
        Market,
        ThermostatSetting,
        MazeView,
        FileEdit,
        TestReport,
    )
}
