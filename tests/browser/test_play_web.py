"""``openenv play --web``: the same page for any server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.browser.conftest import Playground, wait_for_sessions
from tests.browser.test_playing import COUNTER
from tests.interop.test_several_of_their_servers import SERVER
from tests.support.peer import peer_python, peer_server
from tests.support.processes import ServerProcess

Visit = Callable[..., Playground]


@contextmanager
def play_web(url: str, stderr: IO[str] | None = None) -> Iterator[str]:
    """Run ``openenv play --web URL``; gives the address of its page."""
    command = [sys.executable, "-m", "openenv_cli", "play", "--web", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)


def test_it_plays_a_server_that_has_no_page(visit: Visit, serve: Callable[..., ServerProcess]) -> None:
    url = serve(*COUNTER, "--no-interface").base_url
    with play_web(url) as page:
        playground = visit(page).wait()
        playground.reset(seed=2)
        playground.step('{"amount": 3}')
        playground.wait_for_step(1)
        playground.open_tab("Code")
        playground.page.wait_for_selector(f".cm-line:has-text('{url}')")
        wait_for_sessions(url, 1)
        playground.page.close()
        wait_for_sessions(url, 0)


def test_it_ends_without_a_word_while_a_tab_is_open(
    visit: Visit, served: Callable[..., str], tmp_path: Path
) -> None:
    said = tmp_path / "stderr"
    with said.open("w") as stderr, play_web(served(*COUNTER), stderr) as page:
        visit(page).wait().reset()
    assert said.read_text() == ""


def test_it_plays_a_server_of_the_published_package(visit: Visit) -> None:
    with peer_server(peer_python("gymnasium"), SERVER, "cartpole", "PORT") as url, play_web(url) as page:
        playground = visit(page).wait()
        playground.reset(seed=2)
        playground.page.keyboard.press("1")
        playground.wait_for_step(1)
        assert playground.figures["reward"] == "1"
        for step in range(2, 20):
            playground.page.keyboard.press("1")
            playground.wait_for_step(step)
            if playground.page.locator("#pg-status .pg-terminated").count():
                break
        playground.wait_for_status("Terminated")
        playground.page.close()
