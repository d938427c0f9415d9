"""The prompts of ``openenv play``: read lines, and ask for an action field by field."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openenv_cli.playing.questions import OMITTED, InvalidAnswerError, Question, question_of
from openenv_gym.schema_keywords import ACTION_ONLY_ON_THE_WIRE, TOOLS_KEYWORD
from openenv_gym.spaces.schema import Node, Schema, open_schema

_FIELD_BY_FIELD = "+"


class CommandTypedError(Exception):
    """The line is a command, such as ``:reset 7``, not an answer.

    Args:
        line: The line without the colon.
    """

    def __init__(self, line: str) -> None:
        self.words: list[str] = line.split()
        super().__init__(line)


class Lines:
    """Reads lines from a terminal or a pipe.

    Attributes:
        is_typed: Whether they come from a terminal.
    """

    def __init__(self) -> None:
        self.is_typed: bool | Any = sys.stdin.isatty()
        if self.is_typed:
            import readline  # noqa: F401 - gives input() line editing and a history

    def ask(self, prompt: str) -> str:
        """Read the next line, stripped.

        Raises:
            CommandTypedError: It starts with a colon.
            EOFError: The input has ended.
        """
        if self.is_typed:
            line = input(prompt)
        else:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            # Echoed, so that the output reads as a transcript.
            print(f"{prompt}{line.rstrip()}", flush=True)
        line = line.strip()
        if line.startswith(":"):
            raise CommandTypedError(line.removeprefix(":"))
        return line


def ask_action(schema: Schema, lines: Lines, tell: Callable[[str], None]) -> dict[str, Any]:
    """Ask for an action and return its payload.

    Each field is a question. At the first one, a JSON object is taken as the whole action.

    Args:
        schema: The action model's JSON Schema.
        lines: The input.
        tell: Shows help and complaints about an answer.

    Raises:
        CommandTypedError: A command was typed instead.
        EOFError: The input has ended.
    """
    if TOOLS_KEYWORD in schema:
        return _ask_tool_call(schema[TOOLS_KEYWORD], lines, tell)
    root = open_schema(schema)
    names = {name for name, _ in root.properties()} - ACTION_ONLY_ON_THE_WIRE
    if not names:
        lines.ask("Enter to step: ")
        return {}
    first = _FirstOrWhole(lines, set(root.schema.get("properties", {})))
    try:
        return _ask_fields(root, "", first, tell, omit=ACTION_ONLY_ON_THE_WIRE)
    except _WholeActionTypedError as typed:
        return typed.payload


def _ask_tool_call(
    tools: Sequence[Mapping[str, Any]], lines: Lines, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Ask for a tool, and then for its arguments."""
    schemas = {tool["name"]: tool["input_schema"] for tool in tools}
    described = "\n".join(f"{tool['name']}: {tool['description']}" for tool in tools)
    which = open_schema({"enum": list(schemas), "description": described})
    first = _FirstOrWhole(lines, {"type", "tool_name", "arguments", *ACTION_ONLY_ON_THE_WIRE})
    try:
        name = _ask(question_of(which, "tool"), first, tell)
        arguments = _ask_fields(open_schema(schemas[name]), "", first, tell)
    except _WholeActionTypedError as typed:
        return typed.payload
    return {"type": "call_tool", "tool_name": name, "arguments": arguments}


class _WholeActionTypedError(Exception):
    """The whole action was typed at the first question."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload
        super().__init__()


class _FirstOrWhole:
    """Lines of which the first may be the whole action."""

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
            # The first field may take an object too; the action's object has the action's fields.
            if payload and payload.keys() <= self._names:
                raise _WholeActionTypedError(payload)
        self._is_first = self._is_first and line == "?"
        return line


def _ask_fields(
    node: Node,
    prefix: str,
    lines: _FirstOrWhole,
    tell: Callable[[str], None],
    omit: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    required = node.schema.get("required", [])
    answers = {}
    for name, field in node.properties():
        if name in omit:
            continue
        if "const" in field.schema:
            answers[name] = field.schema["const"]
            continue
        question = question_of(field, f"{prefix}{name}", is_required=name in required)
        value = _ask(question, lines, tell)
        if value is not OMITTED:
            answers[name] = value
    return answers


def _ask(question: Question, lines: _FirstOrWhole, tell: Callable[[str], None]) -> Any:
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
        except InvalidAnswerError as error:
            tell(f"{error}. ? for more.")
