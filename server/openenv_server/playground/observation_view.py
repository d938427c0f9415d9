"""An observation as HTML: images as images, text as text, chats as chats, arrays as heat maps or tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np

from openenv_server.playground.figures import figure
from openenv_server.playground.pictures import Array, heat_map, is_picture, picture

# Longer texts have a place to themselves.
_SHORT_TEXT = 60
# Actions of one line are cut here, so that the arguments of a tool are seen.
_LONGEST_LINE = 160
# Larger tables are heat maps.
_MOST_CELLS, _MOST_ROWS, _MOST_COLUMNS = 256, 16, 16
# Further parts of a long list, and longer texts of a tree, are left out.
_MOST_ITEMS, _MOST_CHARACTERS = 100, 2000
_IMAGE_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")
# How the base64 text of a PNG, a JPEG or a GIF begins.
_BARE_IMAGES = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif"}


def view(observation: Any, render: Any = None) -> str:
    """Show an observation.

    Args:
        observation: Its fields, as JSON values and arrays.
        render: The server's own picture of the environment: an image, text, or None.
    """
    parts: dict[int, list[str]] = {order: [] for order in range(4)}
    if render is not None:
        parts[0].append(_panel("Rendered", _rendered(render)))
    short: list[str] = []
    for name, value in _fields(observation):
        order, html = _field(name, value)
        if order is None:
            short.append(f"<div><dt>{escape(name)}</dt><dd>{html}</dd></div>")
        else:
            parts[order].append(_panel(name, html))
    if short:
        parts[2].insert(0, f'<dl class="pg-facts">{"".join(short)}</dl>')
    shown = "".join(html for order in parts.values() for html in order)
    return shown or '<p class="pg-note">It is empty.</p>'


def tree(value: Any, name: str = "", *, is_open: bool = True) -> str:
    """Show nested JSON values as a tree whose branches open and close."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    label = f'<span class="pg-key">{escape(name)}</span>' if name else ""
    if isinstance(value, Mapping | list) and value:
        pairs = list(value.items()) if isinstance(value, Mapping) else list(enumerate(value))
        shown = "".join(
            f"<li>{tree(part, str(key), is_open=is_open and len(pairs) <= _MOST_ROWS)}</li>"
            for key, part in pairs[:_MOST_ITEMS]
        )
        if len(pairs) > _MOST_ITEMS:
            shown += f"<li>… {len(pairs) - _MOST_ITEMS} more</li>"
        plural = "" if len(pairs) == 1 else "s"
        size = f"{len(pairs)} {'field' if isinstance(value, Mapping) else 'item'}{plural}"
        opened = " open" if is_open else ""
        return f"<details{opened}><summary>{label} <small>{size}</small></summary><ul>{shown}</ul></details>"
    return f"{label} {_leaf(value)}"


def compact(value: Any) -> str:
    """Return JSON values on one line, cut to what fits in some lines of a table."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"


def _fields(observation: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an observation by their names, and those of objects with arrays in them by their paths.

    The only field may be an object whose fields are the observation, as a Gymnasium environment has it.
    """
    if not isinstance(observation, Mapping):
        yield path, observation
        return
    if not path and len(observation) == 1 and _has_array(only := next(iter(observation.values()))):
        observation = only
    for key, value in observation.items():
        name = f"{path}.{key}" if path else str(key)
        if _has_array(value):
            yield from _fields(value, name)
        else:
            yield name, value


def _has_array(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        _as_array(part) is not None or _has_array(part) for part in value.values()
    )


def _field(name: str, value: Any) -> tuple[int | None, str]:
    """A field's place on the page, images first, and its HTML; None among the short values."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        value = value.tolist()
    if isinstance(value, str):
        if (url := _image_url(value)) is not None:
            return 0, f'<img class="pg-picture" src="{url}" alt="{escape(name)}">'
        if len(value) > _SHORT_TEXT or "\n" in value:
            return 1, f'<pre class="pg-text" tabindex="0">{escape(value)}</pre>'
        return None, _leaf(value)
    if _is_chat(value):
        return 1, _chat(value)
    array = _as_array(value)
    if array is not None and array.ndim:
        return (0, picture(array, name)) if is_picture(array) else (2, _array(array, name))
    if isinstance(value, Mapping | list) and value:
        return 3, f'<div class="pg-tree">{tree(value)}</div>'
    return None, _leaf(value)


def _panel(name: str, html: str) -> str:
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    return f'<section class="pg-panel">{heading}{html}</section>'


def _rendered(render: Any) -> str:
    if isinstance(render, np.ndarray) and render.ndim in (2, 3):
        return picture(render, "The environment, as the server renders it")
    return f'<pre class="pg-text pg-ansi" tabindex="0">{escape(str(render))}</pre>'


def _image_url(text: str) -> str | None:
    if _IMAGE_URL.fullmatch(text):
        return text
    kind = next((kind for start, kind in _BARE_IMAGES.items() if text.startswith(start)), None)
    if kind is None or len(text) < 64 or not re.fullmatch(r"[A-Za-z0-9+/=\s]+", text):
        return None
    return f"data:image/{kind};base64,{text}"


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and "role" in turn and "content" in turn for turn in value)
    )


def _chat(turns: list[Mapping[str, Any]]) -> str:
    shown = []
    if len(turns) > _MOST_ITEMS:
        shown.append(f'<li class="pg-other">… {len(turns) - _MOST_ITEMS} earlier</li>')
    for turn in turns[-_MOST_ITEMS:]:
        role, content = str(turn["role"]), turn["content"]
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
        side = "pg-user" if role == "user" else "pg-other"
        shown.append(f'<li class="{side}"><b>{escape(role)}</b><p>{escape(text)}</p></li>')
    return f'<ol class="pg-chat">{"".join(shown)}</ol>'


def _as_array(value: Any) -> Array | None:
    """An array, or nested lists of numbers of one shape."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "iufb" else None
    if not isinstance(value, list) or not value:
        return None
    try:
        array = np.array(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "iufb" else None


def _array(array: Array, name: str) -> str:
    if not array.size:
        return f"<p>An empty array of shape {array.shape}</p>"
    caption = f"<small>{array.dtype} {array.shape}</small>"
    if array.ndim == 1 and array.size <= _MOST_COLUMNS:
        return _table(array[np.newaxis], name, heads=range(array.size)) + caption
    if array.ndim == 2 and array.shape[0] <= _MOST_ROWS and array.shape[1] <= _MOST_COLUMNS:
        return _table(array, name, heads=()) + caption
    flat = _flat(array)
    if flat.ndim == 1:  # as wide as it is high
        width = int(np.ceil(np.sqrt(flat.size)))
        padding = np.full(width * -(-flat.size // width) - flat.size, np.nan)
        flat = np.concatenate([flat.astype(float), padding]).reshape(-1, width)
    return heat_map(flat, f"Heat map of {name}, {array.dtype} of shape {array.shape}") + caption


def _flat(array: Array) -> Array:
    """An array with two dimensions at most: layers stand below each other, and channels side by side."""
    if array.ndim == 3 and array.shape[2] < min(array.shape[:2]):
        return np.moveaxis(array, 2, 1).reshape(len(array), -1)
    return array.reshape(-1, array.shape[-1]) if array.ndim > 2 else array


def _table(array: Array, name: str, heads: range | tuple[()]) -> str:
    """A table whose cells are coloured by their values: blue above zero, orange below."""
    most = float(np.nanmax(np.abs(np.where(np.isfinite(array), array, 0).astype(float)))) or 1.0
    head = "".join(f'<th scope="col">{index}</th>' for index in heads)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    rows = []
    for row in array.tolist():
        cells = []
        for value in row:
            share = min(1.0, abs(float(value)) / most) if np.isfinite(value) else 0.0
            colour = "var(--pg-plus)" if float(value) >= 0 else "var(--pg-minus)"
            mix = f"background:color-mix(in srgb,{colour} {100 * share * 0.7:.0f}%,transparent)"
            cells.append(f'<td style="{mix}">{figure(value)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="pg-scroll" tabindex="0"><table class="pg-numbers" aria-label="{escape(name)}">'
        f"{head}<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        text = value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}…"
        return f'<span class="pg-string">{escape(text)}</span>' if value else "<i>empty text</i>"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f'<span class="pg-number">{figure(value)}</span>'
    if value is None:
        return "<i>none</i>"
    return escape(json.dumps(value, ensure_ascii=False, default=str))
