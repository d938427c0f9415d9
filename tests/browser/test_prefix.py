"""The playground under a path, behind nginx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.browser.conftest import Playground, wait_for_sessions
from tests.browser.test_playing import COUNTER
from tests.gateways.nginx import needs_nginx, nginx
from tests.gateways.test_nginx import in_front
from tests.support.processes import ServerProcess

pytestmark = needs_nginx


def test_a_prefix_that_the_gateway_removes(
    visit: Callable[..., Playground], serve: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    url = serve(*COUNTER, ROOT_PATH="/envs/counter", FORWARDED_ALLOW_IPS="127.0.0.1").base_url
    for has_tls in (False, True):
        folder = tmp_path / f"tls-{has_tls}"
        folder.mkdir()
        with nginx(folder, in_front(url, "/envs/counter/"), has_tls=has_tls) as gateway:
            playground = visit(f"{gateway.origin}/envs/counter/web", ignore_https_errors=True).wait()
            playground.reset(seed=2)
            playground.step('{"amount": 3}')
            playground.wait_for_step(1)
            playground.open_tab("Code")
            playground.page.wait_for_selector(f".cm-line:has-text('{gateway.origin}/envs/counter')")
            playground.page.close()
            wait_for_sessions(url, 0)
