"""An environment that counts to ten, for the tests of the playground."""

from __future__ import annotations

import gradio as gr
from openenv_server import create_app
from pydantic import Field

from openenv_gym.types import Action, Observation, State


class Count(Action):
    """How much to add."""

    amount: int = Field(ge=0, le=9, description="What is added")
    note: str = ""


class Counted(Observation):
    total: int
    row: list[float]


class Counter:
    """Adds up. An amount of 9 raises."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        self._state = State(step_count=0)
        self._total = 0

    def reset(self, seed: int | None = None, start: int = 0) -> Counted:
        self._state = State(step_count=0)
        self._total = start + (seed or 0)
        return Counted(total=self._total, row=[0.0, 1.0])

    def step(self, action: Count) -> Counted:
        if action.amount == 9:
            raise RuntimeError("nine is too much")
        self._state.step_count += 1
        self._total += action.amount
        return Counted(
            total=self._total,
            row=[float(action.amount), -1.0],
            reward=float(action.amount),
            done=self._total >= 10,
        )

    @property
    def state(self) -> State:
        return self._state


def build_tab(web_manager, action_fields, metadata, is_chat_env, title, quick_start_md) -> gr.Blocks:
    """A tab in the shape that published environments pass."""

    async def reset() -> str:
        data = await web_manager.reset_environment({"start": 3})
        return f"total {data['observation']['total']}, done {data['done']}"

    async def step(amount: float) -> str:
        data = await web_manager.step_environment({"amount": int(amount)})
        steps = web_manager.get_state()["step_count"]
        assert web_manager.episode_state.step_count == steps
        assert web_manager.episode_state.current_observation == data["observation"]
        return f"total {data['observation']['total']}, reward {data['reward']}, steps {steps}"

    names = ", ".join(field["name"] for field in action_fields)
    with gr.Blocks() as blocks:
        gr.Markdown(f"{title} of {metadata.name}: {names}")
        amount = gr.Number(4, label="Amount")
        shown = gr.Textbox(label="What happened", elem_id="happened")
        gr.Button("Begin", elem_id="begin").click(reset, None, shown)
        gr.Button("Add", elem_id="add").click(step, amount, shown)
    return blocks


app = create_app(Counter, Count, Counted, env_name="counter")
tabbed = create_app(
    Counter, Count, Counted, env_name="counter", gradio_builder=build_tab, custom_tab_name="Adding up"
)
