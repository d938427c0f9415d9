"""``openenv play --web``: the same page for any server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from tests.browser.conftest import Playground, wait_for_sessions
from tests.browser.test_playing import COUNTER
from tests.support.processes import ServerProcess


def test_it_plays_a_server_that_has_no_page(
    visit: Callable[..., Playground], serve: Callable[..., ServerProcess]
) -> None:
    url = serve(*COUNTER, "--no-interface").base_url
    command = [sys.executable, "-m", "openenv_cli", "play", "--web", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        page = process.stdout.readline().strip()
        try:
            playground = visit(page).wait()
            playground.reset(seed=2)
            playground.step('{"amount": 3}')
            playground.wait_for_step(1)
            playground.open_tab("Code")
            playground.page.wait_for_selector(f".cm-line:has-text('{url}')")
            wait_for_sessions(url, 1)
            playground.page.close()
            wait_for_sessions(url, 0)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
