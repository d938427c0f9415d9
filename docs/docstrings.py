"""How docstrings become pages: examples are code; pages and names that have a section are links."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import griffe

PATHS = re.findall(
    r"^::: (\S+)$", "\n".join(page.read_text() for page in Path(__file__).parent.glob("api/*.md")), re.M
)
_COUNT = Counter(path.rpartition(".")[2] for path in PATHS)
# By its name, the path of each class and function that has a section.
SECTIONS = {path.rpartition(".")[2]: path for path in PATHS if _COUNT[path.rpartition(".")[2]] == 1}


class Docstrings(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            text = re.sub(r"(?<![`/])\bdocs/([\w-]+\.md)\b(?!`)", r"[docs/\1](../\1)", text)
            obj.docstring.value = re.sub(r"(?<!`)`(\w+)`(?!`)", self._link, text)

    def _link(self, found: re.Match[str]) -> str:
        path = SECTIONS.get(found[1])
        return f"[{found[0]}][{path}]" if path else found[0]
