"""Draws the fields of a form as components of Gradio, whose events write to the action in the page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from openenv_server.playground.field_errors import Path
from openenv_server.playground.fields import (
    MISSING,
    Boolean,
    Choice,
    Constant,
    Field,
    Group,
    Number,
    Optional,
    Part,
    Places,
    Recursion,
    Rows,
    Text,
    Union,
    initial,
    is_near,
)

# Up to this many choices are all shown, and more are a list to open.
_MOST_RADIOS = 6
_LONGEST_RADIO = 24
_WIDEST_SLIDER = 1e6
# Lists with more values are JSON: a browser takes a second for 50 fields.
_MOST_VALUES = 200
_SHORT_LINES, _LONG_LINES, _MOST_LINES = 1, 5, 20


@dataclass(frozen=True)
class Drawing:
    """Draws the fields of one action.

    Attributes:
        errors: The messages of fields, by path.
        action, text, problem, revision: The components that hold the action, its text, what is wrong with the
            text, and the number that changes for the form to be drawn again.
    """

    errors: Mapping[Path, Sequence[str]]
    action: Component
    text: Component
    problem: Component
    revision: Component

    def draw(self, field: Field, path: Path, payload: Any, *, has_label: bool = True) -> None:
        """Draw a field and those inside it.

        Args:
            field: The field.
            path: Its place in the action.
            payload: Its value.
            has_label: Whether to show its label and its description, which are above it already otherwise.
        """
        if isinstance(field, Recursion):
            field = replace(field.target, label=field.label)
        if not is_near(field, payload):
            self._json(field, path, payload, has_label)
            return
        match field:
            case Optional():
                self._optional(field, path, payload, has_label)
                return
            case Group():
                self._group(field, path, payload, has_label)
                return
            case Union():
                self._union(field, path, payload, has_label)
                return
            case Rows() if _size(payload) > _MOST_VALUES:
                self._json(field, path, payload, has_label)
                return
            case Rows():
                self._rows(field, path, payload, has_label)
                return
            case Places():
                self._places(field, path, payload, has_label)
                return
            case Constant():
                return
            case Choice():
                self._choice(field, path, payload, has_label)
            case Text():
                self._text(field, path, payload, has_label)
            case Number():
                self._number(field, path, payload, has_label)
            case Boolean():
                box = gr.Checkbox(payload, **_named(field, has_label))
                self._put(box, "value", path)
            case _:
                self._json(field, path, payload, has_label)
                return
        self._show_errors(path)

    def _group(self, field: Group, path: Path, payload: dict[str, Any], has_label: bool) -> None:
        has_label = has_label and bool(path)
        if not has_label and field.description:
            _note(field.description)
        with gr.Accordion(field.label, open=True) if has_label else gr.Column(min_width=0):
            if has_label and field.description:
                _note(field.description)
            self._show_errors(path)
            for part in field.parts:
                if part.name in payload or isinstance(part.field, Optional):
                    self.draw(part.field, (*path, part.name), payload.get(part.name, MISSING))
                elif not isinstance(part.field, Constant):
                    self._absent(part, (*path, part.name))

    def _absent(self, part: Part, path: Path) -> None:
        """Draw what adds a part that is not in the payload, and is not optional or has a default."""
        kind = "missing" if part.default is MISSING else "optional"
        named = _named(part.field, True)
        box = gr.Checkbox(False, **{**named, "label": f"{part.field.label} ({kind})"})
        start = initial(part.field) if part.default is MISSING else part.default
        self._change(box.input, js(start), path, box)
        self._show_errors(path)

    def _optional(self, field: Optional, path: Path, payload: Any, has_label: bool) -> None:
        is_on = field.is_on(payload)
        named = _named(field, has_label)
        box = gr.Checkbox(is_on, **{**named, "label": f"{field.label} (optional)"})
        off = "undefined" if field.off is MISSING else js(field.off)
        self._change(box.input, f"value ? {js(initial(field.inner))} : {off}", path, box)
        if is_on:
            inner = replace(field.inner, label=field.label)
            with gr.Column(min_width=0, elem_classes="openenv-inside"):
                self.draw(inner, path, payload, has_label=False)
        else:
            self._show_errors(path)

    def _union(self, field: Union, path: Path, payload: Any, has_label: bool) -> None:
        chosen = field.index(payload) or 0
        names = [variant.name for variant in field.variants]
        chooser = self._chooser(names, chosen, _named(field, has_label))
        starts = [initial(variant.field) for variant in field.variants]
        self._change(chooser.input, f"{js(starts)}[value]", path, chooser)
        variant = field.variants[chosen].field
        with gr.Column(min_width=0, elem_classes="openenv-inside"):
            self.draw(
                replace(variant, label=f"{field.label}: {names[chosen]}"), path, payload, has_label=False
            )

    def _rows(self, field: Rows, path: Path, payload: list[Any], has_label: bool) -> None:
        with gr.Accordion(f"{field.label} ({len(payload)})", open=True):
            if has_label and field.description:
                _note(field.description)
            self._show_errors(path)
            for place, item in enumerate(payload):
                label = f"{field.label} {place + 1}"
                with gr.Row(equal_height=False):
                    with gr.Column(scale=10, min_width=200):
                        self.draw(replace(field.item, label=label), (*path, place), item)
                    if len(payload) > field.least:
                        remove = gr.Button(f"Remove {place + 1}", size="sm", scale=0, min_width=90)
                        self._restructure(remove.click, f"openenvForm.remove({js(path)}, {place}, ...form)")
            if field.most is None or len(payload) < field.most:
                add = gr.Button(f"Add to {field.label.lower()}", size="sm")
                new = js(initial(field.item))
                self._restructure(add.click, f"openenvForm.add({js(path)}, {new}, ...form)")

    def _places(self, field: Places, path: Path, payload: list[Any], has_label: bool) -> None:
        with gr.Accordion(field.label, open=True):
            if has_label and field.description:
                _note(field.description)
            self._show_errors(path)
            are_numbers = all(isinstance(item, Number) for item in field.items)
            with gr.Row() if are_numbers else gr.Column(min_width=0):
                for place, (item, value) in enumerate(zip(field.items, payload, strict=True)):
                    named = replace(item, label=f"{field.label} {item.label}")
                    self.draw(named, (*path, place), value)

    def _choice(self, field: Choice, path: Path, payload: Any, has_label: bool) -> None:
        chooser = self._chooser(field.names, field.index(payload) or 0, _named(field, has_label))
        self._put(chooser, f"{js(field.values)}[value]", path)

    @staticmethod
    def _chooser(names: Sequence[str], chosen: int, named: dict[str, Any]) -> gr.Radio | gr.Dropdown:
        """Return a component whose value is the place of the name that is chosen."""
        choices = [(name, place) for place, name in enumerate(names)]
        if len(names) <= _MOST_RADIOS and all(len(name) <= _LONGEST_RADIO for name in names):
            return gr.Radio(choices, value=chosen, **named)
        return gr.Dropdown(choices, value=chosen, **named)

    def _text(self, field: Text, path: Path, payload: str, has_label: bool) -> None:
        is_long = field.is_long or "\n" in payload
        box = gr.Textbox(
            payload,
            lines=_LONG_LINES if is_long else _SHORT_LINES,
            max_lines=_MOST_LINES if is_long else _SHORT_LINES,
            placeholder=field.hint,
            max_length=field.longest,
            elem_classes="openenv-mono" if field.is_code else None,
            **_named(field, has_label),
        )
        self._put(box, "value", path)
        box.submit(None, js="openenvForm.step", show_progress="hidden")

    def _number(self, field: Number, path: Path, payload: float, has_label: bool) -> None:
        low, high, named = field.low, field.high, _named(field, has_label)
        number: Component
        if low is not None and high is not None and low <= payload <= high and high - low <= _WIDEST_SLIDER:
            step = 1.0 if field.is_integer else _slider_step(high - low)
            number = gr.Slider(low, high, payload, step=step, **named)
        else:
            step = 1 if field.is_integer else 0.01
            number = gr.Number(payload, minimum=low, maximum=high, step=step, **named)
        if field.is_integer:
            call = f"openenvForm.putInteger({js(path)}, {js(field.label)}, value, ...form)"
            self._on_edit(number, call)
        else:
            self._put(number, "value", path)

    def _json(self, field: Field, path: Path, payload: Any, has_label: bool) -> None:
        text = "" if payload is MISSING else json.dumps(payload, ensure_ascii=False)
        box = gr.Textbox(
            text,
            lines=1,
            max_lines=_MOST_LINES,
            elem_classes="openenv-mono",
            **_named(field, has_label, "JSON"),
        )
        call = f"openenvForm.putJson({js(path)}, {js(field.label)}, value, ...form)"
        self._on_edit(box, call)
        self._show_errors(path)

    def _put(self, component: Any, value: str, path: Path) -> None:
        self._on_edit(component, f"openenvForm.put({js(path)}, {value}, ...form)")

    def _on_edit(self, component: Any, call: str) -> None:
        form = [self.action, self.text, self.problem]
        # A component that was drawn has a change too. Meanwhile the action may have been edited elsewhere.
        call = f"openenvForm.isDrawn({component._id}, value, {js(component.value)}) ? form : {call}"
        component.change(
            None, [component, *form], form, js=f"(value, ...form) => {call}", show_progress="hidden"
        )

    def _change(self, event: Any, value: str, path: Path, component: Component) -> None:
        call = f"openenvForm.change({js(path)}, {value}, ...form)"
        self._restructure(event, call, component)

    def _restructure(self, event: Any, call: str, component: Component | None = None) -> None:
        form = [self.action]
        inputs = form if component is None else [component, *form]
        arguments = "...form" if component is None else "value, ...form"
        outputs = [self.action, self.text, self.problem, self.revision]
        event(None, inputs, outputs, js=f"({arguments}) => {call}", show_progress="hidden")

    def _show_errors(self, path: Path) -> None:
        self.show_messages(self.errors.get(path, ()))

    @staticmethod
    def show_messages(messages: Iterable[str]) -> None:
        """Show messages, as errors."""
        for message in messages:
            gr.HTML(f'<p class="openenv-error" role="alert">{escape(message)}</p>', padding=False)


def js(value: Any) -> str:
    """Return a JSON value as an expression of JavaScript."""
    return json.dumps(value)


def _named(field: Field, has_label: bool, hint: str = "") -> dict[str, Any]:
    """Return the keywords that every component has. A label that is not shown is there for screen readers."""
    shown = [field.description if has_label else "", hint]
    # Gradio reads it as Markdown, and what a server says is only text: it loads nothing, and has no links.
    info = " · ".join(filter(None, shown))
    return {"label": field.label, "show_label": has_label, "info": info or None, "interactive": True}


def _note(text: str) -> None:
    gr.HTML(f'<p class="openenv-note">{escape(text)}</p>', padding=False)


def _size(payload: Any) -> int:
    """Return how many values a payload has."""
    match payload:
        case list():
            return sum(map(_size, payload))
        case dict():
            return sum(map(_size, payload.values()))
    return 1


def _slider_step(width: float) -> float:
    """Return a power of ten with 1,000 to 10,000 steps in the width."""
    return float(10.0 ** (math.floor(math.log10(width)) - 3)) if width > 0 else 1.0
