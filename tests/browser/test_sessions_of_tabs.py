"""A session for each tab, from the same capacity as all others."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from openenv_gym.generic_client import GenericEnvClient
from tests.browser.conftest import Playground, wait_for_sessions
from tests.browser.test_playing import COUNTER
from tests.support.processes import ServerProcess

Visit = Callable[..., Playground]
Serve = Callable[..., ServerProcess]


def test_two_tabs_have_two_sessions_and_give_them_back(visit: Visit, served: Callable[..., str]) -> None:
    url = served(*COUNTER)
    first, second = visit(f"{url}/web").wait(), visit(f"{url}/web").wait()
    wait_for_sessions(url, 0)
    first.reset(seed=1)
    second.reset(seed=2)
    first.step('{"amount": 3}')
    first.wait_for_step(1)
    assert (first.figures["steps"], second.figures["steps"]) == ("1", "0")
    wait_for_sessions(url, 2)
    first.page.close()
    wait_for_sessions(url, 1)
    second.page.click("#pg-autoplay")
    second.page.wait_for_selector("#pg-stop")
    second.page.close()
    wait_for_sessions(url, 0)


def test_a_full_server_says_so_and_lets_one_in_later(visit: Visit, serve: Serve) -> None:
    url = serve(*COUNTER, "--max-sessions", "1").base_url
    playground = visit(f"{url}/web").wait()
    with GenericEnvClient(base_url=url) as client:
        client.reset()
        playground.page.click("#pg-reset")
        playground.page.wait_for_selector("#pg-trouble :text('The server is full')")
    playground.reset()
    assert playground.page.locator(".pg-problem").count() == 0


def test_tabs_of_several_processes_share_one_playground(visit: Visit, serve: Serve) -> None:
    url = serve(*COUNTER, "--workers", "2").base_url
    playground = visit(f"{url}/web").wait()
    for _ in range(6):
        playground.reset()
        playground.step('{"amount": 1}')
        playground.wait_for_step(1)


def test_the_key_is_asked_for(visit: Visit, serve: Serve) -> None:
    url = serve(*COUNTER, OPENENV_API_KEY="let-me-in").base_url
    playground = visit(f"{url}/web")
    playground.page.fill("input[name=key]", "wrong")
    playground.page.click("button")
    playground.page.wait_for_selector("[role=alert]:has-text('refuses this key')")
    playground.page.fill("input[name=key]", "ключ")
    playground.page.click("button")
    playground.page.wait_for_selector("[role=alert]:has-text('This is no key')")
    playground.page.fill("input[name=key]", "let-me-in")
    playground.page.click("button")
    playground.wait().reset()
    playground.open_tab("Code")
    playground.page.wait_for_selector(".cm-line:has-text('OPENENV_API_KEY')")
    stranger = visit(f"{url}/web/gradio_api/info")
    assert stranger.page.is_visible("input[name=key]")


def test_a_tab_of_the_environment_has_the_session_of_its_browser_tab(visit: Visit, serve: Serve) -> None:
    url = serve("--app", "tests.browser.counting:tabbed").base_url
    playground = visit(f"{url}/web").wait()
    playground.open_tab("Adding up")
    playground.page.wait_for_selector("text='counter of counter: amount, note'")
    playground.page.click("#begin")
    playground.page.wait_for_selector("#happened")
    happened = playground.page.locator("#happened textarea, #happened input")
    playground.page.wait_for_function("document.querySelector('#happened textarea, #happened input').value")
    assert happened.input_value() == "total 3, done False"
    playground.page.click("#add")
    playground.page.wait_for_function(
        "document.querySelector('#happened textarea, #happened input').value.includes('steps 1')"
    )
    assert happened.input_value() == "total 7, reward 4.0, steps 1"
    wait_for_sessions(url, 1)
    playground.page.close()
    wait_for_sessions(url, 0)


def test_the_server_restarts_while_a_tab_is_open(visit: Visit, serve: Serve) -> None:
    server = serve(*COUNTER)
    playground = visit(f"{server.base_url}/web").wait()
    playground.reset()
    server.process.terminate()
    code, took_s = server.ends()
    assert code == 0
    assert took_s < 5
    assert not [line for line in server.lines if "Traceback" in line]
    url = serve(*COUNTER, "--port", str(urlsplit(server.base_url).port)).base_url
    playground.step()
    playground.page.wait_for_selector("#pg-trouble :text('This page has lost its connection')")
    playground.errors.clear()  # modules that were loaded while the server was away
    playground.page.get_by_role("link", name="Reload the page").click()
    playground.page.wait_for_selector("#pg-status :text('Not started')")
    playground.wait().reset()
    wait_for_sessions(url, 1)
    playground.page.close()
    wait_for_sessions(url, 0)
