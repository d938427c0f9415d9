"""Reads ``.dockerignore`` files: what does not go into a build."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from openenv_cli.texts import read_patterns


def ignore_rules(dockerfile: Path, context: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """The rules of the file that goes for a build: whether each is an exception, and its pattern."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    file = own if own.is_file() else context / ".dockerignore"
    rules = []
    for line in read_patterns(file):
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
