"""What goes into an image or onto the Hub: a copy of an environment's folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bundled(folder: Path, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """A copy of an environment's folder, for as long as the context lasts, without what `exclude` names."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / folder.resolve().name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", *exclude))
        yield copy
