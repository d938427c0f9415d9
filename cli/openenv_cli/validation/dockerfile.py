"""Reads Dockerfiles and .dockerignore files, as far as the checks need it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


class Instruction(NamedTuple):
    """One instruction: the line that it begins on, counted from 1, its name in capitals, and the rest."""

    line: int
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


def read_dockerfile(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, without comments and without the bodies of heredocs."""
    return list(_instructions(text.splitlines()))


def _instructions(lines: list[str]) -> Iterator[Instruction]:
    number = 0
    while number < len(lines):
        begin, said = 0, ""
        while number < len(lines):
            line = lines[number].strip()
            number += 1
            if not line or line.startswith("#"):
                continue
            begin = begin or number
            said += f" {line.removesuffix(chr(92)).strip()}"
            if not line.endswith("\\"):
                break
        for _, end in _HEREDOC.findall(said):
            while number < len(lines) and lines[number].strip() != end:
                number += 1
            number += 1
        name, _, arguments = said.strip().partition(" ")
        if name:
            yield Instruction(begin, name.upper(), arguments.strip())


def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    """What makes the image: the last stage, after the stages that it is made from."""
    stages: list[tuple[str, str, list[Instruction]]] = []
    for instruction in instructions:
        if instruction.name == "FROM":
            words = instruction.words
            alias = words[2].lower() if len(words) > 2 and words[1].upper() == "AS" else ""
            stages.append((words[0].lower() if words else "", alias, []))
        if stages:
            stages[-1][2].append(instruction)
    if not stages:
        return []
    base, _, chain = stages.pop()
    while stages:
        its_base, alias, own = stages.pop()
        if base in (alias, str(len(stages))):
            base, chain = its_base, own + chain
    return chain


def ignore_rules(dockerfile: Path, context: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """The rules of the file that goes for a build: whether each is an exception, and its pattern."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    file = own if own.is_file() else context / ".dockerignore"
    rules = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            is_exception = pattern.startswith("!")
            rules.append((is_exception, _compile(pattern.removeprefix("!").strip().strip("/"))))
    return rules


def is_ignored(path: PurePosixPath, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Whether a path of the context is left out of a build; the last rule that fits counts."""
    ignored = False
    for is_exception, pattern in rules:
        if any(pattern.fullmatch(str(part)) for part in (path, *path.parents)):
            ignored = not is_exception
    return ignored


def _compile(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(parts.get(part, re.escape(part)) for part in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", pattern))
    )
