"""The blocks of Python of the documents, and how each of them says that it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
# A comment before a block says what it runs with, or why it is not run:
# <!-- with: pistons -->, <!-- not run: needs a Ray cluster -->
_BLOCK = re.compile(
    r"(?:^<!-- (?P<how>with|not run): (?P<what>.*?) -->\n\n)?^ *```python\n(?P<code>.*?)^ *```",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block of a document.

    Attributes:
        code: Its text.
        context: What it runs with; "" for a server of CartPole.
        reason: Why it is not run; "" if it is.
    """

    code: str
    context: str = ""
    reason: str = ""

    @property
    def file_name(self) -> str | None:
        """The file that the block is, as its first line says: ``# counter.py``."""
        found = re.match(r"# ([\w/]+\.py)\n", self.code)
        return found[1] if found else None


def pages() -> dict[str, list[Block]]:
    """The documents with blocks of Python, by their path in docs/."""
    found = {path.relative_to(DOCS).as_posix(): blocks_of(path) for path in sorted(DOCS.rglob("*.md"))}
    return {page: blocks for page, blocks in found.items() if blocks}


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a document, in order."""
    return [
        Block(found["code"], **{{"with": "context", "not run": "reason"}[found["how"]]: found["what"]})
        if found["how"]
        else Block(found["code"])
        for found in _BLOCK.finditer(path.read_text())
    ]
