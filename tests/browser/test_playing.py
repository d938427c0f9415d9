"""Reset, act, and see what follows, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.browser.conftest import PHONE, Playground, wait_for_sessions

COUNTER = ("--app", "tests.browser.counting:app")
WILD = ("--gym", "tests.browser.wild:Wild-v0", "--gym-kwarg", "render_mode=rgb_array")
Visit = Callable[..., Playground]
Served = Callable[..., str]


@pytest.fixture
def url(served: Served) -> str:
    return served(*COUNTER)


def test_an_episode_from_its_reset_to_its_end(visit: Visit, url: str) -> None:
    playground = visit(f"{url}/web").wait()
    assert "Not started" in playground.page.inner_text("#pg-status")
    playground.reset(seed=3, options='{"start": 1}')
    assert "4" in playground.stage
    playground.step('{"amount": 4}')
    playground.wait_for_step(1)
    assert playground.figures == {"steps": "1", "reward": "4", "total": "4"}
    playground.step('{"amount": 5}')
    playground.wait_for_status("Terminated")
    assert playground.figures == {"steps": "2", "reward": "5", "total": "9"}
    playground.step()
    playground.page.wait_for_selector("#pg-trouble [role=alert]")
    assert playground.page.get_by_role("img", name="Rewards of steps 1 to 2").count() == 1


def test_a_step_that_takes_long_is_seen_to_run(visit: Visit, url: str) -> None:
    playground = visit(f"{url}/web").wait()
    playground.reset()
    animation = "getComputedStyle(document.querySelector('#pg-status .pg-pill')).animationName"
    assert playground.page.evaluate(animation) == "none"
    slow = {"offline": False, "latency": 2000, "downloadThroughput": -1, "uploadThroughput": -1}
    playground.page.context.new_cdp_session(playground.page).send("Network.emulateNetworkConditions", slow)
    playground.step()
    playground.page.wait_for_function(f"{animation} === 'pg-wait'")
    playground.wait_for_step(1)
    playground.page.wait_for_function(f"{animation} === 'none'")


def test_a_seed_is_refused_that_would_be_rounded(visit: Visit, url: str) -> None:
    playground = visit(f"{url}/web").wait()
    playground.open_settings()
    for seed in ("1.5", str(2**53 + 1)):
        playground.reset(seed=3)
        playground.page.fill("#pg-seed input", seed)
        playground.page.click("#pg-reset")
        playground.page.wait_for_selector("#pg-trouble :text('The seed must be a whole number')")


def test_errors_stand_at_their_fields_and_the_episode_goes_on(visit: Visit, url: str) -> None:
    playground = visit(f"{url}/web").wait()
    playground.reset()
    playground.step('{"amount": 12}')
    playground.page.wait_for_selector(".openenv-error:has-text('less than or equal to 9')")
    playground.step('{"amount": 9}')
    playground.page.wait_for_selector("#pg-trouble :text('nine is too much')")
    playground.step('{"amount": 2}')
    playground.wait_for_step(1)
    assert playground.page.locator(".openenv-error, .pg-problem").count() == 0


def test_steps_can_be_looked_back_at_and_saved(visit: Visit, url: str) -> None:
    playground = visit(f"{url}/web").wait()
    playground.reset()
    for number, amount in enumerate((2, 3), 1):
        playground.step(json.dumps({"amount": amount}))
        playground.wait_for_step(number)
    playground.page.locator("#pg-look input[type=range]").press("ArrowLeft")
    playground.wait_for_step(1)
    playground.page.click("#pg-history > button")
    with playground.page.expect_download() as download:
        playground.page.click("#pg-save")
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [line["observation"]["total"] for line in lines] == [0, 2, 5]
    assert [line["reward"] for line in lines] == [None, 2.0, 3.0]


def test_autoplay_acts_at_random_until_the_episode_ends_or_it_is_stopped(
    visit: Visit, served: Served
) -> None:
    url = served("--gym", "CartPole-v1", "--gym-kwarg", "render_mode=rgb_array")
    playground = visit(f"{url}/web").wait()
    playground.open_settings()
    playground.page.fill("#pg-speed input[type=number]", "20")
    playground.page.keyboard.press("Tab")
    playground.page.click("#pg-autoplay")
    playground.wait_for_status("Terminated")
    assert int(playground.figures["steps"]) >= 8
    assert playground.page.get_by_alt_text("The environment, as the server renders it").is_visible()
    playground.page.fill("#pg-speed input[type=number]", "2")
    playground.page.keyboard.press("Tab")
    playground.page.click("#pg-autoplay")
    playground.wait_for_step(2)
    playground.page.click("#pg-stop")
    playground.page.wait_for_selector("#pg-autoplay")
    playground.wait_for_status("Running")
    assert int(playground.figures["steps"]) <= 5


def test_a_failing_render_costs_no_step(visit: Visit, served: Served) -> None:
    playground = visit(f"{served(*WILD)}/web").wait()
    playground.reset()
    playground.step('{"action": [0, 1]}')
    playground.wait_for_step(1)
    assert playground.page.locator(".pg-problem").count() == 0
    assert "no picture" in playground.page.inner_text(".pg-view pre")


def test_numbers_that_are_not_finite_are_saved_as_json(visit: Visit, served: Served) -> None:
    playground = visit(f"{served(*WILD)}/web").wait()
    playground.reset()
    playground.step('{"action": [1, [0, 0]]}')
    playground.wait_for_step(1)
    assert playground.page.get_by_role("img", name="Rewards of steps 1 to 1").count() == 1
    assert "nan" not in playground.page.inner_html(".pg-plot")
    playground.page.click("#pg-history > button")
    with playground.page.expect_download() as download:
        playground.page.click("#pg-save")
    text = download.value.path().read_text()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in text.splitlines())
    assert first["observation"]["observation"]["field"] == [0.5, "NaN", "Infinity"]
    assert second["reward"] == "Infinity"


def test_long_arrays_and_float_images_fit_the_page(visit: Visit, served: Served) -> None:
    playground = visit(f"{served(*WILD)}/web").wait()
    playground.reset()
    for name in ("image", "tall", "wide"):
        box = playground.page.locator(f"img[alt*='of {name},']").bounding_box()
        assert 40 < box["height"] < 500, name


def test_a_game_is_played_with_keys(visit: Visit, served: Served) -> None:
    url = served("envs/grid_world_env")
    playground = visit(f"{url}/web").wait()
    playground.reset(seed=1)
    playground.page.click("#pg-stage")
    playground.page.keyboard.press("ArrowDown")
    playground.wait_for_step(1)
    assert '"move": 2' in playground.stage
    assert playground.page.get_by_alt_text("frame").is_visible()


def test_tabs_show_state_spaces_schemas_health_and_code(visit: Visit, url: str) -> None:
    playground = visit(f"{url}/web").wait()
    playground.reset(seed=3)
    playground.step('{"amount": 4}')
    playground.wait_for_step(1)
    page = playground.page
    playground.open_tab("State")
    page.wait_for_selector(".pg-key:text('step_count')")
    playground.open_tab("Spaces")
    page.wait_for_selector("pre:has-text('Discrete')")
    playground.open_tab("Schemas")
    page.wait_for_selector("text='\"What is added\"'")
    playground.open_tab("Health")
    page.wait_for_selector(".pg-key:text('active_sessions')")
    playground.open_tab("Code")
    page.wait_for_selector(f".cm-line:has-text('{url}')")
    assert page.locator(".cm-line:has-text('seed=3')").first.is_visible()


def test_a_phone_scrolls_in_one_direction_only(visit: Visit, served: Served) -> None:
    url = served("envs/grid_world_env")
    playground = visit(f"{url}/web", viewport=PHONE, color_scheme="dark").wait()
    playground.reset()
    assert playground.width == PHONE["width"]
    wait_for_sessions(url, 1)
