"""Reads Dockerfiles: their instructions, their stages, and what these start from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-+]([^}]*))?\})")


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        line: The line that it begins on, counted from 1.
        last_line: The line that it ends on.
        name: Its name, in capitals.
        arguments: The rest, on one line.
    """

    line: int
    last_line: int
    name: str
    arguments: str

    @property
    def words(self) -> list[str]:
        """The arguments without the options in front of them."""
        text = re.sub(r"^(?:--\S+\s+)+", "", self.arguments)
        if text.startswith("["):
            try:
                return [str(word) for word in json.loads(text)]
            except ValueError:
                return text.split()
        return text.split()


class Stage(NamedTuple):
    """A stage of a build.

    Attributes:
        begin: Its FROM.
        written: What it starts from, as it is written.
        image: The same, with the values of the arguments in it: an image, or an earlier stage's name.
        name: Its own name, in lower case; empty where it has none.
    """

    begin: Instruction
    written: str
    image: str
    name: str


def read_dockerfile(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, without comments and without the bodies of heredocs."""
    return list(_instructions(text.splitlines()))


def _instructions(lines: list[str]) -> Iterator[Instruction]:
    number = 0
    while number < len(lines):
        begin, last, said = 0, 0, ""
        while number < len(lines):
            line = lines[number].strip()
            number += 1
            if not line or line.startswith("#"):
                continue
            begin, last = begin or number, number
            said += f" {line.removesuffix(chr(92)).strip()}"
            if not line.endswith("\\"):
                break
        for _, end in _HEREDOC.findall(said):
            while number < len(lines) and lines[number].strip() != end:
                number += 1
            number += 1
            last = number
        words = said.split(maxsplit=1)
        if words:
            yield Instruction(begin, last, words[0].upper(), words[1].strip() if len(words) == 2 else "")


def read_stages(instructions: list[Instruction], build_args: Mapping[str, str] | None = None) -> list[Stage]:
    """The stages of a Dockerfile, in its order.

    Args:
        instructions: The Dockerfile's.
        build_args: The build's arguments, which go before the Dockerfile's own values.
    """
    values: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in instructions:
        # Only arguments before the first FROM count for a FROM.
        if instruction.name == "ARG" and not stages:
            for name, default in _arguments(instruction).items():
                values[name] = (build_args or {}).get(name, _fill_in(default, values))
        elif instruction.name == "FROM":
            words = instruction.words
            written = words[0] if words else ""
            name = words[2].lower() if len(words) == 3 and words[1].lower() == "as" else ""
            stages.append(Stage(instruction, written, _fill_in(written, values), name))
    return stages


def first_stages(stages: list[Stage]) -> list[Stage]:
    """Those that start from an image, and not from an earlier stage."""
    return [
        stage
        for number, stage in enumerate(stages)
        if stage.image.lower() not in {earlier.name for earlier in stages[:number]}
    ]


def images_to_start_from(instructions: list[Instruction], build_args: Mapping[str, str]) -> set[str]:
    """The images that a Dockerfile's stages start from, without the stages themselves.

    Args:
        instructions: The Dockerfile's.
        build_args: The build's arguments, which go before the Dockerfile's own values.
    """
    return {stage.image for stage in first_stages(read_stages(instructions, build_args))}


def declared_arguments(instructions: list[Instruction]) -> set[str]:
    """The names of a Dockerfile's build arguments."""
    return {
        name for instruction in instructions if instruction.name == "ARG" for name in _arguments(instruction)
    }


def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    """What makes the image: the last stage, after the stages that it is made from."""
    stages = read_stages(instructions)
    chain: list[Instruction] = []
    end = len(instructions)
    wanted: str | None = None
    for stage in reversed(stages):
        begin = instructions.index(stage.begin)
        if wanted is None or stage.name == wanted:
            chain = instructions[begin:end] + chain
            wanted = stage.image.lower()
        end = begin
    return chain


def _arguments(instruction: Instruction) -> dict[str, str]:
    """``A=1 B`` as names and values."""
    return {match[1]: (match[2] or "").strip("\"'") for match in _ARGUMENT.finditer(instruction.arguments)}


def _fill_in(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2]) or match[3] or "", text)
