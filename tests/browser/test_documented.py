"""The blocks of the playground's page in docs/ run. They need Gradio, but no browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.test_blocks import run_blocks


def test_the_blocks_of_its_page_run(
    serve_gym: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_blocks("playground.md", serve_gym, tmp_path, monkeypatch)
