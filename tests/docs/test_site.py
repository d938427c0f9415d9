"""The built site: no dead link, nothing loaded from elsewhere, and a page for each public name."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from openenv_gym import errors
from openenv_gym.errors import DOCUMENTATION, OpenEnvError

ROOT = Path(__file__).parents[2]
SOURCE = "https://github.com/openenv-gym/openenv-gym"
EXPORTS = (
    "openenv_gym",
    "openenv_gym.spaces",
    "openenv_gym.vector",
    "openenv_gym.wrappers",
    "openenv_server",
)
# Attributes whose values are addresses.
ADDRESSES = {"href", "src"}


class Page(HTMLParser):
    """The links, the resources and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        is_link = tag == "a" or values.get("rel") in ("canonical", "prev", "next", "edit")
        kept = self.links if is_link else self.resources
        kept += [value for name in ADDRESSES if (value := values.get(name))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as strictly as when it is published."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """The pages by their path in the site."""
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in site.rglob("*.html")}


def internal(pages: dict[str, Page]) -> Iterator[tuple[str, str, str]]:
    """The links and the resources inside the site: the page, the path that it leads to, and the anchor."""
    for name, page in pages.items():
        for address in page.links + page.resources:
            whole = urljoin(f"{DOCUMENTATION}/{name}", address)
            if whole.startswith(f"{DOCUMENTATION}/") and name != "404.html":
                path, _, anchor = whole.removeprefix(f"{DOCUMENTATION}/").partition("#")
                path = unquote(path.partition("?")[0])
                yield name, f"{path}index.html" if path.endswith("/") or not path else path, unquote(anchor)


def test_no_link_inside_the_site_leads_nowhere(site: Path, pages: dict[str, Page]) -> None:
    dead, count = set(), 0
    for name, path, anchor in internal(pages):
        count += 1
        if not (site / path).is_file():
            dead.add(f"{name}: {path}")
        elif anchor and path in pages and anchor not in pages[path].anchors and anchor != "__skip":
            dead.add(f"{name}: {path}#{anchor}")
    assert count > 3000
    assert sorted(dead) == []


def test_links_to_elsewhere_are_addresses(pages: dict[str, Page]) -> None:
    found = {link for page in pages.values() for link in page.links if urlsplit(link).scheme}
    elsewhere = sorted(
        link for link in found if not link.startswith((DOCUMENTATION, "http://localhost:8000"))
    )
    assert elsewhere
    assert [
        link for link in elsewhere if not re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[^\s…]*)?", link)
    ] == []
    files = [
        link.removeprefix(f"{SOURCE}/blob/main/") for link in elsewhere if link.startswith(f"{SOURCE}/blob/")
    ]
    assert files
    assert [file for file in files if not (ROOT / file.partition("#")[0]).exists()] == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    loaded = {address for page in pages.values() for address in page.resources}
    assert [address for address in loaded if urlsplit(address).netloc] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:|@import", sheet.read_text()), sheet.name
    # The theme would ask GitHub for the number of stars.
    assert not any('data-md-component="source"' in (site / name).read_text() for name in pages)
    diagrams = [name for name in pages if '<pre class="mermaid">' in (site / name).read_text()]
    assert diagrams
    for name in diagrams:
        assert any(address.endswith("mermaid.tiny.js") for address in pages[name].resources)


def test_search_finds_a_setting_and_a_class(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for words in ("RESUME_GRACE", "RemoteVectorEnv", "openenv validate"):
        assert any(words in entry["text"] or words in entry["title"] for entry in index)


def test_each_error_has_a_section_that_its_help_url_leads_to(pages: dict[str, Page]) -> None:
    from openenv_server import errors as server_errors

    kinds = [
        kind
        for module in (errors, server_errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, OpenEnvError) and kind.__module__ == module.__name__
    ]
    assert len(kinds) > 50
    for kind in kinds:
        error = (OSError if issubclass(kind, OSError) else Exception).__new__(kind)
        path, _, anchor = error.help_url.removeprefix(f"{DOCUMENTATION}/").partition("#")
        assert anchor in pages[f"{path}index.html"].anchors, kind


def test_each_exported_name_is_in_the_reference(site: Path) -> None:
    data = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split(" ")[0] for line in zlib.decompress(data).decode().splitlines()}
    for module in map(importlib.import_module, EXPORTS):
        for name in module.__all__:
            value = getattr(module, name)
            assert f"{value.__module__}.{value.__qualname__}" in documented, f"{module.__name__}.{name}"
