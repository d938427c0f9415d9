"""A real Chromium, servers to open in it, and the playground's page as an object.

Without Gradio, Playwright or Chromium, these tests are skipped: ``uv sync --group browser``, and Debian's
package ``chromium``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.processes import ServerProcess, serving
from tests.support.servers import status_of
from tests.support.waiting import wait_for

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
# The first page waits until Gradio is imported.
PATIENCE_MS = 30_000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


class Playground:
    """The playground in a separate tab.

    Attributes:
        page: Playwright's page.
        hosts: The hosts that it has called.
        errors: The JavaScript errors of the page.
    """

    def __init__(self, context: Any, url: str) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self.page.on("request", self._note_host)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)

    def wait(self) -> Playground:
        """Wait until it can be used."""
        self.page.wait_for_selector("#pg-reset")
        self.page.wait_for_selector("#openenv-step")
        return self

    def reset(self, seed: int | None = None, options: str | None = None) -> None:
        """Reset, and wait for the first observation."""
        if seed is not None or options is not None:
            self.open_settings()
        if seed is not None:
            self.page.fill("#pg-seed input", str(seed))
        if options is not None:
            self.write("#pg-options", options)
        self.page.click("#pg-reset")
        self.wait_for_status("Running")
        self.wait_for_step(0)

    def step(self, action: str | None = None) -> None:
        """Take an action, JSON text; the one in the form by default."""
        if action is not None:
            self.write("#openenv-json", action)
        self.page.click("#openenv-step")

    def write(self, editor: str, text: str) -> None:
        """Replace the text of an editor."""
        self.page.click(f"{editor} .cm-content")
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def open_settings(self) -> None:
        """Open the accordion with seed, options and speed."""
        if not self.page.is_visible("#pg-seed input"):
            self.page.click("#pg-settings > button")
            self.page.wait_for_selector("#pg-seed input")

    def open_tab(self, name: str) -> None:
        """Open one of the page's tabs."""
        self.page.get_by_role("tab", name=name, exact=True).first.click()

    def wait_for_status(self, text: str) -> None:
        """Wait until the episode is Running, Terminated or Truncated."""
        self.page.wait_for_selector(f"#pg-status .pg-pill:text-is('{text}')")

    def wait_for_step(self, number: int) -> None:
        """Wait until a step is shown."""
        self.page.wait_for_selector(f"#pg-stage .pg-step b:text-is('Step {number}')")

    @property
    def figures(self) -> dict[str, str]:
        """Steps, reward and total, as they are shown."""
        pairs = self.page.locator("#pg-status dl div").all()
        return {pair.locator("dt").inner_text(): pair.locator("dd").inner_text() for pair in pairs}

    @property
    def stage(self) -> str:
        """The text of what is shown."""
        return str(self.page.inner_text("#pg-stage"))

    @property
    def width(self) -> int:
        """The width of the page's content in pixels."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def _note_host(self, request: Any) -> None:
        if (host := urlsplit(request.url).netloc) != "":
            self.hosts.add(host)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Playground]]:
    """Open a playground in a separate browser profile: ``visit(url, viewport=PHONE, color_scheme="dark")``.

    At the end of the test, no page may have had an error or called another host.
    """
    opened = []
    with ExitStack() as stack:

        def open_(url: str, **options: Any) -> Playground:
            context = chromium.new_context(**{"viewport": DESKTOP, **options})
            stack.callback(context.close)
            playground = Playground(context, url)
            opened.append((url, playground))
            return playground

        yield open_
    for url, playground in opened:
        assert playground.errors == []
        assert playground.hosts <= {urlsplit(url).netloc}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Serve with ``openenv serve ARGUMENTS``, once for all tests; return the base URL."""
    servers: dict[tuple[str, ...], str] = {}
    with ExitStack() as stack:

        def served_(*arguments: str) -> str:
            if arguments not in servers:
                closed = tmp_path_factory.mktemp("served") / "closed"
                servers[arguments] = stack.enter_context(serving(closed, *arguments)).base_url
            return servers[arguments]

        yield served_


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Serve with ``openenv serve ARGUMENTS`` for one test; keywords are environment variables."""
    with ExitStack() as stack:

        def serve_(*arguments: str, **variables: str) -> ServerProcess:
            return stack.enter_context(serving(tmp_path / "closed", *arguments, **variables))

        yield serve_


def wait_for_sessions(base_url: str, count: int, *, key: str = "") -> None:
    """Wait until so many sessions are open."""
    wait_for(lambda: status_of(f"{base_url}/health", key=key)[1]["active_sessions"] == count, 10)
