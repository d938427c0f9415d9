"""The lines that a person types, or that come from a pipe."""

from __future__ import annotations

import sys


class CommandTypedError(Exception):
    """A line was typed that is not an answer but a command, such as ``:reset 7``.

    Args:
        line: The line, without the colon.
    """

    def __init__(self, line: str) -> None:
        self.words = line.split()
        super().__init__(line)


class Lines:
    """Asks for one line after another.

    Attributes:
        is_typed: Whether a person types them.
    """

    def __init__(self) -> None:
        self.is_typed = sys.stdin.isatty()
        if self.is_typed:
            import readline  # noqa: F401 - lets input() be edited, and remember what was typed before

    def ask(self, prompt: str) -> str:
        """The next line, without spaces around it.

        Raises:
            CommandTypedError: It begins with a colon.
            EOFError: There are no more.
        """
        if self.is_typed:
            line = input(prompt)
        else:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            # So that what is written down can be read as a conversation.
            print(f"{prompt}{line.rstrip()}", flush=True)
        line = line.strip()
        if line.startswith(":"):
            raise CommandTypedError(line.removeprefix(":"))
        return line
