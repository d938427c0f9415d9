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
    """Asks for one line after another."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdin.isatty()
        if self._is_terminal:
            import readline  # noqa: F401 - lets input() be edited, and remember what was typed before

    def ask(self, prompt: str) -> str:
        """The next line, without spaces around it.

        Raises:
            CommandTypedError: It begins with a colon.
            EOFError: There are no more.
        """
        if self._is_terminal:
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
