"""Images in a terminal: two pixels a character."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.style import Style
from rich.text import Text

_HIGHEST_LINES = 24
_LARGEST_FACTOR = 8


def picture(image: np.ndarray[Any, Any], columns: int) -> Text:
    """An image in half blocks: the upper half of a character is one pixel, the lower half the next.

    Args:
        image: uint8 of shape (H, W, 3).
        columns: The terminal's width.
    """
    height, width, _ = image.shape
    factor = min(columns / width, 2 * _HIGHEST_LINES / height, _LARGEST_FACTOR)
    if factor > 1:
        factor = int(factor)  # pixels of one size
    rows = (np.arange(max(2, round(height * factor))) / factor).astype(int).clip(max=height - 1)
    across = (np.arange(max(1, round(width * factor))) / factor).astype(int).clip(max=width - 1)
    scaled = image[rows][:, across]
    if len(scaled) % 2:
        scaled = np.concatenate([scaled, scaled[-1:]])
    text = Text(no_wrap=True)
    for upper, lower in zip(scaled[::2], scaled[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", _style(tuple(above), tuple(below)))
        text.append("\n")
    text.right_crop(1)
    return text


def _style(above: tuple[int, int, int], below: tuple[int, int, int]) -> Style:
    return Style(color="#{:02x}{:02x}{:02x}".format(*above), bgcolor="#{:02x}{:02x}{:02x}".format(*below))
