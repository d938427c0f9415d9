"""Terminal output of texts that others wrote: servers, environments, files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from openenv_cli.output import CONTROLS


class Console(RichConsole):
    """A console on which no text can move the cursor, change the terminal or add colours.

    Control characters are replaced by "�". A text in brackets is no markup; with ``markup=True``, what others
    wrote has to be passed through `rich.markup.escape`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render without control characters, except Rich's own."""
        for segment in super().render(renderable, options):
            if segment.control is None and CONTROLS.search(segment.text):
                segment = Segment(CONTROLS.sub("�", segment.text), segment.style)
            yield segment
