"""Read Dockerfiles (instructions, stages and their base images) and ``.dockerignore`` files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from openenv_cli.files import read_patterns

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-+]([^}]*))?\})")


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
        line: Its first line, counted from 1.
        last_line: Its last line.
        name: Its name in capitals, ``RUN``.
        arguments: The rest, joined to one line.
    """

    line: int
    last_line: int
    name: str
    arguments: str

    @property
    def words(self) -> list[str]:
        """The arguments without the options before them."""
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
        start: Its FROM.
        written: What it starts from, as written.
        image: The same with arguments filled in: an image, or the name of an earlier stage.
        name: Its name in lower case; empty if it has none.
    """

    start: Instruction
    written: str
    image: str
    name: str


def read_dockerfile(text: str) -> list[Instruction]:
    """Parse a Dockerfile into instructions, without comments and heredoc bodies."""
    return list(_instructions(text.splitlines()))


def _instructions(lines: list[str]) -> Iterator[Instruction]:
    number = 0
    while number < len(lines):
        first, last, text = 0, 0, ""
        while number < len(lines):
            line = lines[number].strip()
            number += 1
            if not line or line.startswith("#"):
                continue
            first, last = first or number, number
            text += f" {line.removesuffix(chr(92)).strip()}"
            if not line.endswith("\\"):
                break
        for _, end in _HEREDOC.findall(text):
            while number < len(lines) and lines[number].strip() != end:
                number += 1
            number += 1
            last = number
        words = text.split(maxsplit=1)
        if words:
            yield Instruction(first, last, words[0].upper(), words[1].strip() if len(words) == 2 else "")


def read_stages(instructions: list[Instruction], build_args: Mapping[str, str] | None = None) -> list[Stage]:
    """Find the stages of a Dockerfile, in order.

    Args:
        instructions: The Dockerfile's instructions.
        build_args: Build arguments, which override the Dockerfile's defaults.
    """
    values: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in instructions:
        # A FROM can use only the arguments before the first FROM.
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
    """The stages that start from an image, not from an earlier stage."""
    return [
        stage
        for number, stage in enumerate(stages)
        if stage.image.lower() not in {earlier.name for earlier in stages[:number]}
    ]


def base_images(instructions: list[Instruction], build_args: Mapping[str, str]) -> set[str]:
    """The images that a Dockerfile's stages start from.

    Args:
        instructions: The Dockerfile's instructions.
        build_args: Build arguments, which override the Dockerfile's defaults.
    """
    return {stage.image for stage in first_stages(read_stages(instructions, build_args))}


def declared_arguments(instructions: list[Instruction]) -> set[str]:
    """The names of a Dockerfile's build arguments."""
    return {
        name for instruction in instructions if instruction.name == "ARG" for name in _arguments(instruction)
    }


def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    """The instructions that make the image: the last stage, preceded by the stages that it starts from."""
    stages = read_stages(instructions)
    chain: list[Instruction] = []
    end = len(instructions)
    wanted: str | None = None
    for stage in reversed(stages):
        start = instructions.index(stage.start)
        if wanted is None or stage.name == wanted:
            chain = instructions[start:end] + chain
            wanted = stage.image.lower()
        end = start
    return chain


def _arguments(instruction: Instruction) -> dict[str, str]:
    """Parse ``A=1 B`` into names and values."""
    return {match[1]: (match[2] or "").strip("\"'") for match in _ARGUMENT.finditer(instruction.arguments)}


def _fill_in(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2]) or match[3] or "", text)


def ignore_rules(dockerfile: Path, context: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """Read the ``.dockerignore`` of a build: for each rule, whether it is an exception, and its pattern."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    file = own if own.is_file() else context / ".dockerignore"
    rules = []
    for line in read_patterns(file):
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            is_exception = pattern.startswith("!")
            rules.append((is_exception, _compiled(pattern.removeprefix("!").strip().strip("/"))))
    return rules


def is_ignored(path: PurePosixPath, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Whether a build ignores a path of its context. The last matching rule decides."""
    ignored = False
    for is_exception, pattern in rules:
        if any(pattern.fullmatch(str(part)) for part in (path, *path.parents)):
            ignored = not is_exception
    return ignored


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(parts.get(part, re.escape(part)) for part in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", pattern))
    )
