"""Renders the images of observations as ``rgb_array``, and their texts as ``ansi``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import logger, spaces

from openenv_gym.spaces.compiler import SchemaFinding
from openenv_gym.spaces.custom import JsonText

Renderer = Callable[[Any], Any]
Keys = tuple[str, ...]

RENDER_MODES = ("rgb_array", "ansi")
RENDER_FPS = 30  # unless the server says otherwise
_CHANNELS = (1, 3)


def renderers(space: spaces.Space[Any], report: Sequence[SchemaFinding]) -> dict[str, Renderer]:
    """Return the functions that render an observation, by render mode.

    Fields that the server marks with ``x-openenv-render`` are preferred. Without marks, ``rgb_array`` is
    supported if the observation has exactly one image (integers from 0 to 255, of shape (H, W), (H, W, 1) or
    (H, W, 3)), and ``ansi`` if it has text.

    Args:
        space: The observation space.
        report: The result for each part of the observation's schema.

    Returns:
        ``rgb_array`` returns uint8 of shape (H, W, 3) in fresh memory; ``ansi`` returns a str.
    """
    parts = dict(_parts(space))
    marked = {mode: [f.path for f in report if f.renders == mode] for mode in RENDER_MODES}
    images = [keys for keys, part in parts.items() if is_image(part)]
    texts = [keys for keys, part in parts.items() if _is_text(part)]
    found: dict[str, Renderer] = {}
    images = _marked(images, marked["rgb_array"]) or images
    texts = _marked(texts, marked["ansi"]) or texts
    if len(images) == 1:
        found["rgb_array"] = _Image(images[0])
    if texts:
        found["ansi"] = _Texts(texts)
    return found


def warn_without_mode(modes: Sequence[str]) -> None:
    """Warn that an environment was made without a render mode, so that nothing is rendered.

    Gymnasium's own environments warn too: libraries call ``render`` without asking for the mode.

    Args:
        modes: The supported modes.
    """
    if modes:
        advice = f"make the environment with render_mode=, one of {', '.join(modes)}"
    else:
        advice = "the server supports none, and observations have neither an image nor text"
    logger.warn(f"Nothing is rendered without a render mode: {advice}")


class FrameLists:
    """A list of frames for each slot, as ``render_mode="rgb_array_list"`` has it.

    Like Gymnasium's `RenderCollection`: a frame for each reset and step, cleared by a reset and by `take`.

    Args:
        count: The number of slots.
    """

    def __init__(self, count: int) -> None:
        self._lists: tuple[list[Any], ...] = tuple([] for _ in range(count))

    def add(
        self, frames: Sequence[Any], slots: Iterable[int], was_reset: Sequence[bool] | None = None
    ) -> None:
        """Add the current frames of some slots.

        Args:
            frames: A frame of every slot.
            slots: The slots that were reset or stepped.
            was_reset: Which of all slots began an episode; by default all of these.
        """
        for slot in slots:
            if was_reset is None or was_reset[slot]:
                self._lists[slot].clear()
            self._lists[slot].append(frames[slot])

    def take(self) -> tuple[list[Any], ...]:
        """Return the frames of each slot, and start over."""
        taken, self._lists = self._lists, tuple([] for _ in self._lists)
        return taken


def _marked(candidates: Sequence[Keys], paths: Sequence[str]) -> list[Keys]:
    """Return the candidates at the marked paths. The name of an only field is in its path alone."""
    ends = {keys: f".{'.'.join(keys)}" for keys in candidates if keys}
    return [keys for keys, end in ends.items() if any(f".{path}".endswith(end) for path in paths)]


def _parts(space: spaces.Space[Any], keys: Keys = ()) -> Iterator[tuple[Keys, spaces.Space[Any]]]:
    """Yield the parts that every observation has, by the keys that lead to them."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _parts(part, (*keys, key))
    else:
        yield keys, space


def is_image(space: spaces.Space[Any]) -> bool:
    """Return whether a space has images: integers from 0 to 255, of shape (H, W), (H, W, 1) or (H, W, 3)."""
    shape = space.shape or ()
    if len(shape) != 2 and not (len(shape) == 3 and shape[2] in _CHANNELS):
        return False
    if isinstance(space, spaces.MultiDiscrete):  # lists of integers from 0 to 255
        return bool((space.nvec == 256).all() and (space.start == 0).all())
    return isinstance(space, spaces.Box) and space.dtype == np.uint8


def _is_text(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Text) and not isinstance(space, JsonText)


def _look_up(observation: Any, keys: Keys) -> Any:
    for key in keys:
        observation = observation[key]
    return observation


class _Image:
    """Renders the only image, in color."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def __call__(self, observation: Any) -> np.ndarray[Any, Any]:
        image = _look_up(observation, self._keys).astype(np.uint8)
        if image.ndim == 2:
            image = image[:, :, np.newaxis]
        colors: np.ndarray[Any, Any] = image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
        return colors


class _Texts:
    """Renders the texts, with their names if there are several."""

    def __init__(self, texts: Sequence[Keys]) -> None:
        self._texts = texts

    def __call__(self, observation: Any) -> str:
        if len(self._texts) == 1:
            return str(_look_up(observation, self._texts[0]))
        return "\n".join(f"{'.'.join(keys)}: {_look_up(observation, keys)}" for keys in self._texts)
