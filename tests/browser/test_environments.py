"""Environments of each kind: act by the form and by JSON, and see the observation in its own way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.browser.conftest import PATIENCE_MS, Playground

expect = pytest.importorskip("playwright.sync_api").expect

Open = Callable[..., Playground]


@pytest.fixture
def play(visit: Callable[..., Playground], served: Callable[..., str]) -> Open:
    """Open the playground of ``openenv serve ARGUMENTS``, and begin an episode."""

    def play_(*arguments: str) -> Playground:
        playground = visit(f"{served(*arguments)}/web").wait()
        playground.reset(seed=1)
        return playground

    return play_


def test_echo_has_a_text_to_fill_in(play: Open) -> None:
    playground = play("envs/echo_env")
    field = playground.page.get_by_label("Message The text to echo")
    field.fill("by the form")
    playground.step()
    playground.wait_for_step(1)
    assert playground.page.locator("#pg-stage dd").all_inner_texts() == ["by the form", "11"]
    playground.step('{"message": "by JSON"}')
    playground.wait_for_step(2)
    assert playground.page.locator("#pg-stage dd").first.inner_text() == "by JSON"
    expect(field).to_have_value("by JSON", timeout=PATIENCE_MS)  # an edit before that may be lost
    playground.step('{"message": 3}')
    playground.page.wait_for_selector(".openenv-error:has-text('valid string')")
    assert playground.figures["steps"] == "2"


def test_a_chat_is_shown_as_one(play: Open) -> None:
    playground = play("envs/chat_env")
    playground.page.get_by_label("Content The message").fill("Here you are.")
    playground.step()
    playground.wait_for_step(1)
    assert playground.page.locator(".pg-chat b").all_inner_texts() == ["system", "user", "assistant", "user"]
    assert playground.page.locator(".pg-chat .pg-other p").last.inner_text() == "Here you are."


def test_programs_and_their_output_are_text(play: Open) -> None:
    playground = play("envs/coding_env")
    playground.page.get_by_label("Code Python source").fill("for n in range(3):\n    print(n)\n1 / 0")
    playground.step()
    playground.wait_for_step(1)
    stdout, stderr = playground.page.locator("#pg-stage pre").all_inner_texts()
    assert stdout == "0\n1\n2\n"
    assert "ZeroDivisionError" in stderr


def test_a_tool_is_called(play: Open) -> None:
    playground = play("--app", "tests.browser.kinds:tools")
    playground.page.get_by_role("radio", name="put").click()
    playground.page.get_by_label("Item", exact=True).fill("egg")
    playground.step()
    playground.wait_for_step(1)
    playground.page.get_by_role("radio", name="look").click()
    playground.step()
    playground.wait_for_step(2)
    assert "1 egg" in playground.stage
    playground.step('{"type": "call_tool", "tool_name": "put", "arguments": {"item": "jam", "count": 9}}')
    playground.wait_for_step(3)
    assert "invalid_args" in playground.stage


def test_arrays_are_tables_and_heat_maps(play: Open) -> None:
    playground = play("--app", "tests.browser.kinds:arrays")
    playground.page.get_by_role("textbox", name="Brush").fill("[[0, 0, 0], [0, 1, 0], [0, 0, 0.5]]")
    playground.page.get_by_role("slider", name="Place 0").press("ArrowRight")
    playground.step()
    playground.wait_for_step(1)
    assert playground.figures["reward"] == "1.5"
    place = playground.page.locator("table[aria-label=place] td")
    assert place.all_inner_texts() == ["2", "1"]
    assert playground.page.locator("table[aria-label=brush] td").count() == 9
    assert playground.page.get_by_alt_text("Heat map of field, float32 of shape (24, 24)").is_visible()
    playground.step('{"brush": [[1]], "place": [1, 1]}')
    playground.page.wait_for_selector("#pg-trouble [role=alert]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_empty_box_is_seen(
    visit: Callable[..., Playground], served: Callable[..., str], scheme: str
) -> None:
    url = served("--app", "tests.browser.kinds:every")
    box = visit(f"{url}/web", color_scheme=scheme).wait().page.get_by_label("Ready", exact=True)
    border, inside = box.evaluate(
        "it => { const style = getComputedStyle(it); return [style.borderColor, style.backgroundColor] }"
    )
    lighter, darker = sorted(map(luminance, (border, inside)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def luminance(colour: str) -> float:
    """The relative luminance of an ``rgb()``, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_sample_of_every_kind_of_field_is_a_step(play: Open) -> None:
    playground = play("--app", "tests.browser.kinds:every")
    editor = playground.page.locator("#openenv-json .cm-content")
    before = editor.inner_text()
    playground.page.click("#openenv-sample")
    playground.page.wait_for_function(
        "before => document.querySelector('#openenv-json .cm-content').innerText !== before", arg=before
    )
    playground.step()
    playground.wait_for_step(1)
    playground.page.click("#pg-history > button")
    with playground.page.expect_download() as download:
        playground.page.click("#pg-save")
    line = json.loads(download.value.path().read_text().splitlines()[1])
    assert line["observation"]["action"].keys() >= {"name", "do", "torques", "grid", "tree"}
