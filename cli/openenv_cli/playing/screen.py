"""The output of ``openenv play``: observations and states as text, images as coloured half blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.style import Style
from rich.text import Text

from openenv_cli.console import Console
from openenv_cli.output import without_controls

# Longer arrays are summarized.
_MAX_NUMBERS = 100
_MAX_ROW_LENGTH = 16
_MAX_PICTURE_LINES = 24
_MAX_SCALE = 8


class Screen:
    """Standard output: with colours and pictures in a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    @property
    def has_pictures(self) -> bool:
        """Whether it can show images."""
        return self._console.is_terminal and self._console.color_system is not None

    def tell(self, text: str, style: str = "dim") -> None:
        """Show a message of the command itself."""
        self._print(Text(text, style))

    def show(self, value: Any, element: Any = None) -> None:
        """Show a JSON value; ``element`` as in `lines_of`."""
        for line in lines_of(value, element):
            self._print(without_controls(line))

    def show_render(self, rendered: Any) -> None:
        """Show a rendered frame: text, or uint8 of shape (H, W, 3)."""
        if isinstance(rendered, np.ndarray):
            if self.has_pictures:
                self._console.print(_picture(rendered, self._console.width))
        elif rendered is not None:
            self._print(without_controls(str(rendered).strip("\n")))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=not self._console.is_terminal)


def lines_of(value: Any, element: Any = None) -> Iterator[str]:
    """Format a JSON value as lines: fields under their names, text as it is, long arrays as a summary.

    Args:
        value: The value.
        element: The same value as an element of its space, which has the dtype of an array.
    """
    if isinstance(element, np.ndarray) and element.ndim:
        yield from _array(element)
    elif isinstance(value, Mapping):
        parts = element if isinstance(element, Mapping) else {}
        for name, part in value.items():
            yield from _under(f"{name}:", list(lines_of(part, parts.get(name))))
    elif isinstance(value, list):
        yield from _list(value)
    elif isinstance(value, str):
        yield from value.split("\n") if value else ['""']
    elif isinstance(value, float):
        yield f"{value:.6g}"
    else:
        yield json.dumps(value)


def _under(name: str, lines: list[str]) -> Iterator[str]:
    """A single line beside its name, several lines below it."""
    if len(lines) == 1:
        yield f"{name} {lines[0]}"
        return
    yield name if lines else f"{name} {{}}"
    yield from (f"  {line}" for line in lines)


def _list(values: list[Any]) -> Iterator[str]:
    if not values:
        yield "[]"
        return
    array = _as_array(values)
    if array is not None:
        yield from _array(array)
        return
    for value in values:
        first, *others = list(lines_of(value)) or ["{}"]
        yield f"- {first}"
        yield from (f"  {line}" for line in others)


def _as_array(values: list[Any]) -> np.ndarray[Any, Any] | None:
    """Convert nested lists of numbers to an array; None for anything else."""
    try:
        array = np.array(values)
    except ValueError:
        return None
    return array if array.dtype.kind in "iufb" else None


def _array(array: np.ndarray[Any, Any]) -> Iterator[str]:
    is_short = array.size <= _MAX_NUMBERS and array.shape[-1] <= _MAX_ROW_LENGTH
    if array.ndim == 1 and is_short:
        yield f"[{' '.join(map(_number, array.tolist()))}]"
        return
    if array.ndim == 2 and is_short and array.size:
        cells = [[_number(value) for value in row] for row in array.tolist()]
        width = max(len(cell) for row in cells for cell in row)
        yield f"{array.dtype} {array.shape}"
        yield from (" ".join(f"{cell:>{width}}" for cell in row) for row in cells)
        return
    summary = ""
    if array.size:
        summary = f", {_number(array.min())} to {_number(array.max())}, mean {_number(array.mean())}"
    yield f"{array.dtype} {array.shape}{summary}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(int(value))


def _picture(image: np.ndarray[Any, Any], columns: int) -> Text:
    """Draw an image with half blocks: each character is one pixel above another.

    Args:
        image: uint8 of shape (H, W, 3).
        columns: The terminal's width.
    """
    height, width, _ = image.shape
    scale = min(columns / width, 2 * _MAX_PICTURE_LINES / height, _MAX_SCALE)
    if scale > 1:
        scale = int(scale)  # all pixels have the same size
    rows = (np.arange(max(2, round(height * scale))) / scale).astype(int).clip(max=height - 1)
    across = (np.arange(max(1, round(width * scale))) / scale).astype(int).clip(max=width - 1)
    scaled = image[rows][:, across]
    if len(scaled) % 2:
        scaled = np.concatenate([scaled, scaled[-1:]])
    text = Text(no_wrap=True)
    for upper, lower in zip(scaled[::2], scaled[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", _half_block(tuple(above), tuple(below)))
        text.append("\n")
    text.right_crop(1)
    return text


def _half_block(above: tuple[int, int, int], below: tuple[int, int, int]) -> Style:
    return Style(color="#{:02x}{:02x}{:02x}".format(*above), bgcolor="#{:02x}{:02x}{:02x}".format(*below))
