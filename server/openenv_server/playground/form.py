"""`ActionForm`: the panel of a playground in which an action is made and sent.

The action is a JSON object that the page holds (`form.js`). Each edit of a field writes to it there, so no
request is made, and a step sends what is seen. What changes *which* fields are shown draws the form again, on
the server.

    field edited ────────► action, JSON text
    variant, row, option ► action, JSON text, revision ──► the form is drawn again
    JSON text edited ────► action, revision ─────────────► the form is drawn again
    errors of a step ────► errors ───────────────────────► the form is drawn again, with them

Interface::

    form = ActionForm(schema, tools)       # raises SchemaError
    with gr.Blocks() as page:
        form.build(page)
        form.on_step(step, [form.action, session], [observation, *form.error_outputs])
    gr.mount_gradio_app(app, page, "/web", head=form.HEAD)

    def step(action, session):
        return observation, *form.show_errors([])     # or the server's list of {"loc", "msg"}, or a message

``form.fill(payload)`` gives updates for ``form.filled``, to show another action.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr

from openenv_gym.spaces import Codec, compile_action
from openenv_gym.spaces.tools import takes_tool_calls, with_tools
from openenv_server.playground.drawing import Drawing, js
from openenv_server.playground.field_errors import errors_by_path
from openenv_server.playground.fields import EXACT, initial
from openenv_server.playground.keys import Moves, moves_of
from openenv_server.playground.schema_fields import field_of_action

_FILES = files(__package__)
# What a page with a form has in its <head>.
HEAD = (
    f"<style>{(_FILES / 'form.css').read_text('utf-8')}</style>"
    f"<script>{(_FILES / 'form.js').read_text('utf-8')}</script>"
)


class ActionForm:
    """A form for the actions of one schema.

    Attributes:
        HEAD: What the page has in its ``<head>``.
        action: The component that holds the current action, a JSON value.
        filled: The components that `fill` gives updates for.
        error_outputs: The components that `show_errors` gives updates for.

    Args:
        schema: The JSON schema of actions.
        tools: The tools that actions call, each with ``name``, ``description`` and ``input_schema``.

    Raises:
        SchemaError: A schema is none.
    """

    HEAD = HEAD

    def __init__(self, schema: Mapping[str, Any], tools: Sequence[Mapping[str, Any]] | None = None) -> None:
        self._schema = with_tools(schema, tools) if tools and takes_tool_calls(schema) else schema
        self._field = field_of_action(schema, tools or ())
        self._moves = moves_of(self._field)
        self.initial: Any = initial(self._field)

    def build(self, page: gr.Blocks) -> None:
        """Add the panel to a page that is being made."""
        self._page = page
        text = json.dumps(self.initial, indent=2, ensure_ascii=False)
        # Hidden components are in the page, so that they have events; those that are not visible have none.
        self.action = gr.JSON(self.initial, visible="hidden", label="Action")
        self._revision = gr.Number(0, visible="hidden", label="Revision")
        self._errors = gr.State([])
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                if self._moves is not None:
                    buttons = self._build_moves(self._moves)
                draw_again = gr.render(
                    inputs=[self.action, self._errors],
                    triggers=[self._page.load, self._revision.change, self._errors.change],
                    show_progress="hidden",
                )
                draw_again(self._draw)
                with gr.Row():
                    self._step = gr.Button("Step", variant="primary", elem_id="openenv-step", min_width=100)
                    sample = gr.Button("Sample", elem_id="openenv-sample", min_width=100)
            with gr.Column(scale=2, min_width=260):
                self._problem = gr.HTML("", elem_id="openenv-problem", padding=False)
                self._text = gr.Code(
                    text,
                    language="json",
                    label="Action as JSON",
                    interactive=True,
                    elem_id="openenv-json",
                    lines=5,
                    max_lines=30,
                    wrap_lines=True,
                    buttons=["copy"],
                )
        self.error_outputs = [self._errors]
        self.filled = [self.action, self._text, self._problem, self._revision]
        if self._moves is not None:
            self._bind_moves(self._moves, buttons)
        self._text.input(
            None,
            [self._text, self.action, self._revision],
            [self.action, self._problem, self._revision],
            js="openenvForm.edit",
            show_progress="hidden",
        )
        sample.click(self._sample, None, self.filled, show_progress="hidden", api_visibility="private")

    def on_step(self, step: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
        """Call ``step`` for the step button, for moves and their keys; returns Gradio's dependency.

        Args:
            step: Called with the values of ``inputs``, and returns those of ``outputs``.
            inputs: Components, with `action` among them.
            outputs: Components, with `error_outputs` among them.
        """
        stepped = self._step.click(step, inputs, outputs, show_progress="hidden", api_visibility="private")
        stepped.then(None, js="openenvForm.stepped", show_progress="hidden")
        return stepped

    def show_errors(self, detail: str | Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        """Return updates for `error_outputs`.

        Args:
            detail: The server's list of errors, each with a ``loc`` and a ``msg``; or one message. An empty
                one shows no errors.
        """
        if isinstance(detail, str):
            detail = [{"loc": [], "msg": detail}] if detail else []
        return ([{"loc": list(error.get("loc") or ()), "msg": str(error.get("msg"))} for error in detail],)

    def fill(self, payload: Any) -> tuple[Any, ...]:
        """Return updates for `filled`, which show another action."""
        return payload, json.dumps(payload, indent=2, ensure_ascii=False), "", int(time.time() * 1000)

    @staticmethod
    def _build_moves(moves: Moves) -> list[gr.Button]:
        """Add a button for each choice, of an action that is one choice."""
        keys = {key: place for place, move in enumerate(moves.moves) for key in move.keys}
        has_names = any(move.caption != move.name for move in moves.moves)
        where = "its keys are in brackets" if has_names else "its key is its number"
        hint = f"Each button makes a step; {where}."
        data = escape(json.dumps(keys))
        gr.HTML(
            f'<p class="openenv-note" data-keys="{data}">{hint}</p>', elem_id="openenv-moves", padding=False
        )
        with gr.Row(elem_classes="openenv-moves"):
            return [
                gr.Button(
                    move.caption, min_width=0, elem_id=f"openenv-move-{place}", elem_classes="openenv-move"
                )
                for place, move in enumerate(moves.moves)
            ]

    def _bind_moves(self, moves: Moves, buttons: Sequence[gr.Button]) -> None:
        form = [self.action, self._text, self._problem]
        for button, move in zip(buttons, moves.moves, strict=True):
            put = f"(...form) => openenvForm.put({js(moves.path)}, {js(move.value)}, ...form)"
            chosen = button.click(None, form, form, js=put, show_progress="hidden")
            chosen.then(None, js="openenvForm.step", show_progress="hidden")
        values = js([move.value for move in moves.moves])
        mark = f"(action) => openenvForm.mark({js(moves.path)}, {values}, action)"
        for event in (self._page.load, self.action.change):
            event(None, [self.action], js=mark, show_progress="hidden")

    def _sample(self) -> tuple[Any, ...]:
        return self.fill(_exact(self._codec.encode(self._codec.space.sample())))

    @cached_property
    def _codec(self) -> Codec:
        return compile_action(self._schema).codec

    def _draw(self, action: Any, errors: Sequence[Mapping[str, Any]]) -> None:
        found = errors_by_path(errors, self._field, action)
        drawing = Drawing(found, self.action, self._text, self._problem, self._revision)
        if self._moves is None or not self._moves.have(action):
            drawing.draw(self._field, (), action)
        else:
            drawing.show_messages(message for messages in found.values() for message in messages)


def _exact(payload: Any) -> Any:
    """Return a payload whose integers a browser does not round: the nearest that are exact there."""
    match payload:
        case bool():
            return payload
        case int():
            return min(max(payload, -EXACT), EXACT)
        case list():
            return [_exact(part) for part in payload]
        case dict():
            return {name: _exact(part) for name, part in payload.items()}
    return payload
