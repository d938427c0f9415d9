"""The map of docs/architecture.md shows files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
SERVER = "server/openenv_server"
PREFIXES = ("", "openenv_gym", SERVER, "cli/openenv_cli", "tests")


def test_every_path_in_the_document_exists() -> None:
    paths = set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`", TEXT))
    assert len(paths) > 30
    missing = [path for path in paths if not any((ROOT / prefix / path).exists() for prefix in PREFIXES)]
    assert not missing


def test_the_map_has_every_folder_and_module_of_the_packages() -> None:
    shown, _, _ = TEXT.partition("## Imports")
    for package in ("openenv_gym", SERVER):
        for folder in (ROOT / package).glob("*/__init__.py"):
            assert f"{folder.parent.name}/" in shown, f"{package}/{folder.parent.name} is not on the map"
        for module in (ROOT / package).glob("[a-z]*.py"):
            assert module.name in shown, f"{package}/{module.name} is not on the map"


def test_every_name_in_the_diagrams_is_in_the_code() -> None:
    code = "\n".join(
        path.read_text() for package in ("openenv_gym", "server") for path in (ROOT / package).rglob("*.py")
    )
    diagrams = "\n".join(re.findall(r"```mermaid\n(.*?)```", TEXT, re.DOTALL))
    names = set(re.findall(r"\b(?:[A-Z][a-z0-9]+){2,}\b|\b[a-z]+_[a-z_]+\b|\b[A-Z]+_[A-Z]+\b", diagrams))
    assert {"RemoteEnv", "V2Channel", "start_servers"} <= names
    assert not [name for name in names if not re.search(rf"\b{name}\b", code, re.IGNORECASE)]
