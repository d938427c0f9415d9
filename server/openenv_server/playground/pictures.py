"""Images and heat maps as ``<img>`` elements."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import numpy as np

from openenv_server.playground.figures import figure

# Small images are enlarged up to this width and height, in pixels of the page.
_WIDE = 480
# Longer sides of a heat map are thinned out.
_LONGEST = 2 * _WIDE
# Numbers up to here, in an image without colours, are most likely kinds of cells.
_MOST_KINDS = 31
# From low to high: the colours of a heat map, as red, green and blue.
_COLOURS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)

Array = np.ndarray[Any, Any]


def is_picture(array: Array) -> bool:
    """Return whether an array is an image: integers from 0 to 255, of at least 8 by 8 pixels.

    Args:
        array: Of shape (H, W, 1), (H, W, 3) or (H, W, 4); or (H, W), if its dtype is uint8 and its numbers
            are no kinds of cells.
    """
    if array.dtype.kind not in "iu" or array.ndim not in (2, 3) or min(array.shape[:2]) < 8:
        return False
    if array.ndim == 2:
        return array.dtype == np.uint8 and int(array.max()) > _MOST_KINDS
    most = int(array.max())  # 1 is that of a grid of switches, and 0 that of a black image
    return array.shape[2] in (1, 3, 4) and int(array.min()) >= 0 and most != 1 and most <= 255


def picture(array: Array, alt: str) -> str:
    """Return an image as HTML. Small ones are shown with large pixels."""
    array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    height, width = array.shape[:2]
    scale = max(1, min(_WIDE // width, _WIDE // height))
    pixelated = " pg-pixels" if 2 * min(width, height) <= _WIDE else ""
    return (
        f'<img class="pg-picture{pixelated}" src="{_data_url(array)}" alt="{escape(alt)}" '
        f'width="{width * scale}" height="{height * scale}">'
    )


def heat_map(array: Array, alt: str) -> str:
    """Return numbers of shape (H, W) as an image, with their range below it.

    A long side shows every second number, or fewer, because the page has no more pixels.
    """
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    array = array[:: -(-array.shape[0] // _LONGEST), :: -(-array.shape[1] // _LONGEST)]
    shares = (np.nan_to_num(array.astype(float), nan=low, posinf=high, neginf=low) - low) / (
        (high - low) or 1.0
    )
    at = np.linspace(0.0, 1.0, len(_COLOURS))
    colours = np.stack([np.interp(shares, at, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    return (
        f'<figure class="pg-heat">{picture(colours, alt)}'
        f'<figcaption><span>{figure(low)}</span><i class="pg-scale"></i><span>{figure(high)}</span>'
        "</figcaption></figure>"
    )


def _data_url(array: Array) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
