"""The code of a playground runs, and takes the action of the form."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

import pytest
from openenv_server import Environment, create_app
from openenv_server.playground.snippets import KINDS, code, literal
from openenv_server.schemas import action_schema
from openenv_server.tools.environment import MCPEnvironment
from pydantic import create_model

from openenv_gym.tool_types import CallToolAction, CallToolObservation
from openenv_gym.types import Action, Observation, State
from tests.support.realistic import ArmTorques, BrowserAction, ChatReply, PokerBet
from tests.support.servers import running

KINDS_THAT_RUN = tuple(kind for kind in KINDS if kind != "TRL")
Side = create_model("Side", __base__=Action, side=(Literal["left", "right"], ...))
ACTIONS = {
    "labels": (Side, {"side": "right"}),
    "text": (ChatReply, {"message": 'it\'s "so"\n\N{SNOWMAN}'}),
    "union": (BrowserAction, {"do": {"kind": "click", "x": 3, "y": 4}}),
    "optional": (PokerBet, {"kind": "raise", "amount": None}),
    "array": (ArmTorques, {"torques": [0.25, -0.5, 0.0, 0.0, 0.0, 0.0, 1.0], "gripper_open": True}),
}


class Heard(Observation):
    text: str = ""


class Ear(Environment[Any, Heard, State]):
    """Remembers its actions and the keywords of its resets."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    actions: ClassVar[list[dict[str, Any]]] = []
    resets: ClassVar[list[dict[str, Any]]] = []

    def reset(self, seed: int | None = None, level: int = 0) -> Heard:
        self.resets.append({"seed": seed, "level": level})
        return Heard()

    def step(self, action: Action) -> Heard:
        fields = action.model_dump(exclude={"metadata"})
        self.actions.append(json.loads(json.dumps(fields, default=lambda array: array.tolist())))
        return Heard(text="heard", reward=1.0)

    @property
    def state(self) -> State:
        return State()


class Shelf(MCPEnvironment):
    """Has two tools, one of which has an argument that is named as one of `ToolClient.call_tool`."""

    items: ClassVar[list[tuple[str, int]]] = []

    def __init__(self) -> None:
        super().__init__()

        @self.tool()
        def put(item: str, count: int = 1) -> int:
            "Put an item on the shelf."
            self.items.append((item, count))
            return len(self.items)

        @self.tool()
        def add(name: str) -> int:
            "Put one item on the shelf."
            return put(name, 1)

    def reset(self, seed: int | None = None) -> Observation:
        return Observation()

    @property
    def state(self) -> State:
        return State()


def run(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a program, and return what it prints."""
    exec(compile(text, "snippet", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS_THAT_RUN)
@pytest.mark.parametrize("name", ACTIONS)
def test_the_code_takes_the_action_of_the_form(
    kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, action = ACTIONS[name]
    Ear.actions.clear()
    Ear.resets.clear()
    with running(create_app(Ear, model, Heard)) as url:
        printed = run(code(kind, url, action_schema(model), action, 7, options={"level": 2}), capsys)
    assert "heard" in printed
    count = 8 if kind == "gym.make_vec" else 1
    assert Ear.actions == [action] * count
    assert [reset["level"] for reset in Ear.resets] == [2] * count
    assert sorted(reset["seed"] for reset in Ear.resets) == [*range(7, 7 + count)]


@pytest.mark.parametrize(
    ("tool", "arguments", "put"),
    [("put", {"item": "egg", "count": 2}, ("egg", 2)), ("add", {"name": "jam"}, ("jam", 1))],
)
@pytest.mark.parametrize("kind", KINDS_THAT_RUN)
def test_the_code_calls_the_tool_of_the_form(
    kind: str, tool: str, arguments: dict[str, Any], put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    action = {"type": "call_tool", "tool_name": tool, "arguments": arguments}
    shelf = Shelf()
    tools = [tool.model_dump() for tool in shelf.list_tools()]
    shelf.close()
    Shelf.items.clear()

    with running(create_app(Shelf, CallToolAction, CallToolObservation)) as url:
        text = code(kind, url, action_schema(CallToolAction), action, tools=tools)
        assert run(text, capsys)
    assert set(Shelf.items) == {put}


def test_a_number_or_a_text_is_written_as_the_element_of_its_space() -> None:
    text = code("gym.make", "http://host", action_schema(Side), {"side": "right"}, 7)
    assert 'action = 1  # "right"\n' in text
    assert "reset(seed=7)" in text
    assert 'action = "hi"\n' in code("gym.make", "http://host", action_schema(ChatReply), {"message": "hi"})


def test_an_action_that_does_not_fit_is_in_the_code_as_it_is() -> None:
    for action in ({"side": "up"}, {}, 3, None):
        text = code("gym.make", "http://host", action_schema(Side), action)
        assert f"action_from_json({literal(action)})" in text


def test_the_code_says_that_a_key_is_needed() -> None:
    for kind in KINDS:
        text = code(kind, "http://host", action_schema(Side), {"side": "right"}, needs_key=True)
        assert "OPENENV_API_KEY" in text.splitlines()[0]


def test_the_code_for_trl_has_the_seed_and_the_call() -> None:
    text = code("TRL", "http://host", action_schema(Side), {"side": "right"}, 7, options={"level": 2})
    compile(text, "snippet", "exec")
    assert 'environment_factory("http://host")' in text
    assert '{"prompt": prompt, "seed": 7, "level": 2}' in text
    assert 'step(side="right")' in text


def test_a_url_cannot_add_code() -> None:
    url = 'http://host"); import os; print("'
    for kind in KINDS:
        assert literal(url) in code(kind, url, action_schema(Side), {"side": "right"})


def test_long_values_have_a_line_for_each_part() -> None:
    value = {
        "text": "a" * 60,
        "parts": [{"x": 1.5, "y": None}, {"x": True, "y": "b" * 60}],
        "n": [*range(60)],
    }
    text = literal(value)
    assert eval(text) == value
    assert max(map(len, text.splitlines())) <= 88
    assert literal([1, "a", None]) == '[1, "a", None]'
