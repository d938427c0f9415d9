"""The `openenv` command in a terminal."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import TracebackType

import pexpect
import pyte

COLUMNS = 80
_LINES = 60
# Wide enough that what a command writes as one line is one line.
_WIDE = 1000
_COLOUR = re.compile(r"\x1b\[[\d;]*?(?<![\d])(3[0-8]|4[0-8]|9[0-7]|10[0-7])(?=[;m])[\d;]*m")


class Terminal:
    """A command in a terminal and a new session.

    Args:
        *arguments: What follows `openenv`.
        cwd: Where it runs.
        **env: Variables beside those of the test.
    """

    def __init__(self, *arguments: str | Path, cwd: Path | None = None, **env: str) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI")
        }
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "openenv_cli", *map(str, arguments)],
            dimensions=(_LINES, COLUMNS),
            encoding="utf-8",
            timeout=60,
            cwd=None if cwd is None else str(cwd),
            env={**environment, "TERM": "xterm-256color", **env},
        )
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Waits until it shows this, after what was waited for before."""
        self.process.expect_exact(text)
        self.shown += f"{self.process.before}{self.process.after}"

    def type(self, line: str) -> None:
        """Types a line."""
        self.process.sendline(line)

    def interrupt(self) -> None:
        """Types Ctrl-C."""
        self.process.sendintr()

    def hang_up(self) -> None:
        """Closes the terminal, as its window does."""
        self.process.ptyproc.fileobj.close()

    def end(self) -> int:
        """Waits for the end; returns what a shell says of it."""
        self.process.expect(pexpect.EOF)
        self.shown += self.process.before
        self.process.close()
        if self.process.signalstatus is not None:
            return 128 + int(self.process.signalstatus)
        assert self.process.exitstatus is not None
        return int(self.process.exitstatus)

    @property
    def rows(self) -> list[str]:
        """The lines, as long as the command made them, without what it took back."""
        screen = pyte.Screen(_WIDE, self.shown.count("\n") + 10)
        pyte.Stream(screen).feed(self.shown)
        return [row.rstrip() for row in screen.display]

    @property
    def text(self) -> str:
        """The lines in one."""
        return "\n".join(self.rows).strip()

    @property
    def has_colour(self) -> bool:
        """Whether there is a colour in it; bold and dim are none."""
        return _COLOUR.search(self.shown) is not None

    def left_behind(self) -> list[str]:
        """The processes of its session that still run, by their command lines."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.close(force=True)
