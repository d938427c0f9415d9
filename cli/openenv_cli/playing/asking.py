"""Asks for an action, a field after another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from openenv_cli.playing.lines import Lines
from openenv_cli.playing.questions import LEFT_OUT, NotAnAnswerError, Question, question_of
from openenv_gym.schema_keywords import ACTION_ONLY_ON_THE_WIRE
from openenv_gym.spaces.schema import Node, Schema, resolve

_FIELD_BY_FIELD = "+"


def ask_action(schema: Schema, lines: Lines, tell: Callable[[str], None]) -> dict[str, Any]:
    """The payload of an action, as a person gives it.

    Each field is a question; a whole JSON object may be typed at the first one.

    Args:
        schema: The action model's JSON Schema.
        lines: Where the answers come from.
        tell: Shows help, and what is wrong with an answer.

    Raises:
        CommandTypedError: A command was typed instead.
        EOFError: There are no more lines.
    """
    root = resolve(schema, schema)
    names = {name for name, _ in root.properties()} - ACTION_ONLY_ON_THE_WIRE
    if not names:
        lines.ask("Enter to step: ")
        return {}
    first = _WholeAction(lines, set(root.schema.get("properties", {})))
    try:
        return _ask_fields(root, "", first, tell, left_out=ACTION_ONLY_ON_THE_WIRE)
    except _WholeActionTypedError as typed:
        return typed.payload


class _WholeActionTypedError(Exception):
    """The whole action was typed at the first question."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload
        super().__init__()


class _WholeAction:
    """Lines, the first of which may be the whole action."""

    def __init__(self, lines: Lines, names: set[str]) -> None:
        self._lines = lines
        self._names = names
        self._is_first = True

    def ask(self, prompt: str) -> str:
        line = self._lines.ask(prompt)
        if self._is_first and line.startswith("{"):
            try:
                payload = json.loads(line)
            except ValueError:
                return line
            # A field may take an object too; the action's has the action's fields.
            if payload and payload.keys() <= self._names:
                raise _WholeActionTypedError(payload)
        self._is_first = self._is_first and line == "?"
        return line


def _ask_fields(
    node: Node,
    prefix: str,
    lines: _WholeAction,
    tell: Callable[[str], None],
    left_out: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    required = node.schema.get("required", [])
    answers = {}
    for name, field in node.properties():
        if name in left_out:
            continue
        if "const" in field.schema:
            answers[name] = field.schema["const"]
            continue
        question = question_of(field, f"{prefix}{name}", is_required=name in required)
        value = _ask(question, lines, tell)
        if value is not LEFT_OUT:
            answers[name] = value
    return answers


def _ask(question: Question, lines: _WholeAction, tell: Callable[[str], None]) -> Any:
    fields = question.fields
    if fields is not None and question.default is None:
        return _ask_fields(fields, f"{question.label}.", lines, tell)
    prompt = question.prompt
    if fields is not None:
        prompt = prompt.replace(" (", f" ({_FIELD_BY_FIELD} for field by field, or ", 1)
    while True:
        text = lines.ask(prompt)
        if text == "?":
            tell(question.help)
            continue
        if fields is not None and text == _FIELD_BY_FIELD:
            return _ask_fields(fields, f"{question.label}.", lines, tell)
        if not text and question.default is not None:
            return question.default[0]
        try:
            return question.parse(text)
        except NotAnAnswerError as error:
            tell(f"{error}. ? for more.")
