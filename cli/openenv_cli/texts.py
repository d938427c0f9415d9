"""An author's files, read as text."""

from __future__ import annotations

from pathlib import Path

from openenv_gym.errors import ConfigurationError


def read_text(path: Path) -> str:
    """A file's text, without the byte order mark that some editors begin it with.

    Raises:
        ConfigurationError: It is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}:{line}: this is not UTF-8. Save the file as UTF-8") from error


def read_patterns(path: Path) -> list[str]:
    """The lines of a ``.gitignore`` or a ``.dockerignore``; none where there is no such file.

    They name files, whose names are any bytes: those that are not UTF-8 are as `os.fsdecode` has them.
    """
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
