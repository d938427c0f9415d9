"""What a player sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from openenv_cli.messages import without_controls
from openenv_cli.playing.pictures import picture
from openenv_cli.playing.showing import lines_of


class Screen:
    """Standard output: with colours and pictures in a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    @property
    def has_pictures(self) -> bool:
        """Whether it can show images."""
        return self._console.is_terminal and self._console.color_system is not None

    def tell(self, text: str, style: str = "dim") -> None:
        """Shows words of our own."""
        self._print(Text(text, style))

    def show(self, value: Any, element: Any = None) -> None:
        """Shows a JSON value; ``element`` is as in `lines_of`."""
        for line in lines_of(value, element):
            self._print(without_controls(line))

    def show_render(self, rendered: Any) -> None:
        """Shows what an environment renders: a text, or uint8 of shape (H, W, 3)."""
        if isinstance(rendered, np.ndarray):
            if self.has_pictures:
                self._console.print(picture(rendered, self._console.width))
        elif rendered is not None:
            self._print(without_controls(str(rendered).strip("\n")))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=not self._console.is_terminal)
