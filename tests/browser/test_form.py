"""The form of an action, in a browser."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from openenv_server.schemas import action_schema
from pydantic import BaseModel, ValidationError

from openenv_gym.tool_types import CallToolAction
from tests.browser.conftest import PHONE, Playground
from tests.browser.every_field import Every
from tests.support.servers import running

gr = pytest.importorskip("gradio")
expect = pytest.importorskip("playwright.sync_api").expect

from openenv_server.playground.form import ActionForm  # noqa: E402 - it imports Gradio

Visit = Callable[..., Playground]

MOVES = {
    "properties": {
        "move": {
            "type": "integer",
            "minimum": 0,
            "maximum": 3,
            "description": "0 up, 1 right, 2 down, 3 left",
        }
    },
    "required": ["move"],
}
SHELF = [
    {"name": "look", "description": "Look at the shelf.", "input_schema": {}},
    {
        "name": "put",
        "description": "Put an item on the shelf.",
        "input_schema": {
            "properties": {
                "item": {"type": "string", "description": "The item"},
                "count": {"type": "integer", "default": 1, "minimum": 1, "maximum": 5},
            },
            "required": ["item"],
        },
    },
]


class Sent:
    """The form in a tab, and the actions that were stepped."""

    def __init__(self, page: Any, actions: list[Any]) -> None:
        self.page, self.actions = page, actions

    def step(self) -> Any:
        """Click the step button; return the action that the server got."""
        return self.after(lambda: self.page.locator("#openenv-step").click())

    def after(self, act: Callable[[], Any]) -> Any:
        """Do something that makes a step; return the action that the server got."""
        count = len(self.actions)
        act()
        deadline = time.monotonic() + 15
        while len(self.actions) == count:
            assert time.monotonic() < deadline, "no step was made"
            self.page.wait_for_timeout(20)
        return self.actions[-1]

    @property
    def text(self) -> str:
        """The text of the JSON editor, which shows only the lines in view."""
        return self.page.locator("#openenv-json .cm-content").inner_text()

    def write(self, text: str) -> None:
        """Replace the text of the JSON editor."""
        self.page.locator("#openenv-json .cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)

    def field(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def radio(self, name: str) -> Any:
        return self.page.get_by_role("radio", name=name, exact=True)


@contextmanager
def serving_form(
    schema: Mapping[str, Any],
    model: type[BaseModel] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    takes_s: float = 0,
) -> Iterator[tuple[str, list[Any]]]:
    """Serve a page with the form of a schema, whose steps the model checks; gives its URL and the actions."""
    actions: list[Any] = []
    form = ActionForm(schema, tools)

    def step(action: Any) -> tuple[Any, ...]:
        actions.append(action)
        time.sleep(takes_s)
        try:
            if model is not None:
                model.model_validate(action)
        except ValidationError as error:
            return len(actions), *form.show_errors(json.loads(error.json(include_url=False)))
        return len(actions), *form.show_errors([])

    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Textbox(label="Elsewhere", interactive=True)
        form.build(blocks)
        count = gr.Number(label="Steps")
        form.on_step(step, [form.action], [count, *form.error_outputs])
    app = gr.mount_gradio_app(FastAPI(), blocks, "/", head=form.HEAD)
    with running(app, timeout_graceful_shutdown=1) as url:
        yield url, actions


@contextmanager
def shown(visit: Visit, *arguments: Any, **options: Any) -> Iterator[Sent]:
    """Serve a form, as `serving_form` does, and open it in a tab."""
    with serving_form(*arguments, **options) as (url, actions):
        page = visit(url).page
        page.locator("#openenv-step").wait_for()
        try:
            yield Sent(page, actions)
        finally:
            page.goto("about:blank")


@pytest.fixture(scope="module")
def every_url() -> Iterator[tuple[str, list[Any]]]:
    """A form with a field of every kind, for all tests."""
    with serving_form(action_schema(Every), Every) as served:
        yield served


@pytest.fixture
def every(visit: Visit, every_url: tuple[str, list[Any]]) -> Sent:
    """The form with a field of every kind, in a new tab."""
    url, actions = every_url
    actions.clear()
    sent = Sent(visit(url).page, actions)
    sent.field("Name Who acts").wait_for()
    return sent


def test_each_field_writes_to_the_action(every: Sent) -> None:
    first = every.step()
    every.field("Name Who acts").fill("bob")
    every.field("Code Python code").fill("a = 1\nb = 2")
    every.page.get_by_role("slider", name="Speed").press("ArrowRight")
    every.field("Weight").fill("2.5")
    every.radio("spades").click()
    every.field("Level").click()
    every.page.get_by_role("option", name="5").click()
    every.field("Ready").check()
    every.page.get_by_role("slider", name="Torques 1").press("ArrowLeft")
    every.page.get_by_label("Grid").fill("[[1, 2, 3], [4, 5, 6]]")
    every.field("Pair 2").fill("c")
    changed = {name: value for name, value in every.step().items() if value != first[name]}
    assert changed == {
        "name": "bob",
        "code": "a = 1\nb = 2",
        "speed": 0.501,
        "weight": 2.5,
        "suit": "spades",
        "level": 5,
        "ready": True,
        "torques": [0, -0.001, 0],
        "grid": [[1, 2, 3], [4, 5, 6]],
        "pair": [1, "c"],
    }


def test_an_optional_part_is_switched_on_and_off(every: Sent) -> None:
    every.page.get_by_label("Amount (optional)").check()
    every.field("Amount").fill("7")
    assert every.step()["amount"] == 7
    every.page.get_by_label("Amount (optional)").uncheck()
    expect(every.field("Amount")).to_have_count(0)
    assert every.step()["amount"] is None
    every.page.get_by_label("Extra (optional)").check()
    every.field("Extra JSON").fill('{"a": [1]}')
    assert every.step()["extra"] == {"a": [1]}
    every.page.get_by_label("Extra (optional)").uncheck()
    expect(every.field("Extra JSON")).to_have_count(0)
    assert "extra" not in every.step()


def test_the_variant_of_a_union_is_chosen(every: Sent) -> None:
    expect(every.page.get_by_text("Press a mouse button at a point.")).to_be_visible()
    every.radio("type").click()
    expect(every.page.get_by_text("Type on the keyboard.")).to_be_visible()
    every.page.get_by_role("textbox", name="Text", exact=True).fill("hello")
    assert every.step()["do"] == {"kind": "type", "text": "hello"}
    every.radio("click").click()
    expect(every.page.get_by_role("slider", name="Y")).to_be_visible()
    assert every.step()["do"] == {"kind": "click", "x": 0, "y": 0}


def test_rows_are_added_and_removed(every: Sent) -> None:
    for place, word in enumerate("abc", start=1):
        every.button("Add to tags").click()
        every.field(f"Tags {place}").fill(word)
    expect(every.button("Add to tags")).to_have_count(0)
    assert every.step()["tags"] == ["a", "b", "c"]
    every.button("Remove 1").first.click()
    expect(every.field("Tags 3")).to_have_count(0)
    expect(every.field("Tags 1")).to_have_value("b")
    assert every.step()["tags"] == ["b", "c"]
    every.button("Add to path").click()
    every.page.get_by_label("X", exact=True).last.wait_for()
    assert every.step()["path"] == [{"x": 0, "y": 0}]


def test_a_recursive_part_is_as_deep_as_one_likes(every: Sent) -> None:
    every.page.get_by_label("Tree (optional)").check()
    every.button("Add to children").click()
    expect(every.button("Add to children")).to_have_count(2)
    every.button("Add to children").last.click()
    expect(every.button("Add to children")).to_have_count(3)
    leaf = {"name": "", "children": []}
    assert every.step()["tree"] == {"name": "", "children": [leaf, leaf]}


def test_the_json_follows_the_form(every: Sent) -> None:
    every.field("Name Who acts").fill("bob")
    expect(every.page.locator("#openenv-json")).to_contain_text('"name": "bob"')


def test_the_form_follows_the_json(every: Sent) -> None:
    action = {
        **every.step(),
        "name": "eve",
        "count": 7,
        "suit": "clubs",
        "do": {"kind": "type", "text": "hi"},
        "amount": 4,
        "tags": ["x", "y"],
        "tree": {"name": "root", "children": [{"name": "leaf", "children": []}]},
    }
    text = json.dumps(action)
    every.write(text)
    expect(every.field("Name Who acts")).to_have_value("eve")
    expect(every.radio("clubs")).to_be_checked()
    expect(every.page.get_by_role("textbox", name="Text", exact=True)).to_have_value("hi")
    expect(every.field("Amount")).to_have_value("4")
    expect(every.field("Tags 2")).to_have_value("y")
    expect(every.field("Children 1")).to_have_count(0)  # a group, whose name is
    expect(every.field("Name").last).to_have_value("leaf")
    assert every.text == text  # as it was typed
    assert every.step() == action


def test_an_edit_during_a_redraw_is_kept(every: Sent) -> None:
    action = every.step()
    slow = {"offline": False, "latency": 600, "downloadThroughput": -1, "uploadThroughput": -1}
    every.page.context.new_cdp_session(every.page).send("Network.emulateNetworkConditions", slow)
    first, second = (json.dumps({**action, "name": name}) for name in "ab")
    every.write(first)
    every.page.wait_for_timeout(300)
    every.write(second)
    for _ in range(15):
        every.page.wait_for_timeout(200)
        assert every.text == second


def test_a_value_that_the_form_cannot_show_is_json_there(every: Sent) -> None:
    every.write(json.dumps({**every.step(), "name": ["a"], "count": 99}))
    expect(every.field("Name Who acts · JSON")).to_have_value('["a"]')
    every.field("Name Who acts · JSON").fill('"b"')
    expect(every.field("Count")).to_have_value("99")
    assert every.step()["name"] == "b"


def test_a_long_list_is_json(every: Sent) -> None:
    action = {**every.step(), "path": [{"x": x, "y": 0} for x in range(1000)]}
    every.write(json.dumps(action))
    expect(every.field("Path JSON")).to_have_value(json.dumps(action["path"]))
    assert every.step() == action
    every.field("Path JSON").fill('[{"x": 1, "y": 2}]')
    assert every.step()["path"] == [{"x": 1, "y": 2}]


def test_a_part_that_is_missing_can_be_added(every: Sent) -> None:
    action = every.step()
    every.write(json.dumps({name: value for name, value in action.items() if name not in ("at", "code")}))
    every.page.get_by_label("At (missing)").check()
    every.page.get_by_label("Code (optional)").check()
    expect(every.field("Code Python code")).to_have_value("print(1)")
    assert every.step() == action


def test_bad_json_is_reported_and_kept_and_not_stepped(every: Sent) -> None:
    action = every.step()
    bad = json.dumps({**action, "name": "zoe"})[:-1]
    every.write(bad)
    problem = every.page.locator("#openenv-problem [role=alert]")
    expect(problem).to_contain_text("Not JSON yet")
    every.page.locator("#openenv-step").click()
    every.page.wait_for_timeout(500)
    assert every.text == bad
    assert every.actions == [action]
    every.page.locator("#openenv-json .cm-content").press("Control+End")
    every.page.keyboard.insert_text("}")
    expect(problem).to_have_count(0)
    assert every.step() == {**action, "name": "zoe"}


def test_bad_json_in_a_part_is_reported(every: Sent) -> None:
    every.page.get_by_label("Grid").fill("[[1, 2")
    problem = every.page.locator("#openenv-problem [role=alert]")
    expect(problem).to_contain_text("Grid: Not JSON yet")
    expect(every.page.get_by_label("Grid")).to_have_value("[[1, 2")
    every.page.get_by_label("Grid").fill("[[1, 2, 3], [4, 5, 6]]")
    expect(problem).to_have_count(0)
    assert every.step()["grid"] == [[1, 2, 3], [4, 5, 6]]


def test_a_sample_fills_the_form_and_is_accepted(every: Sent) -> None:
    for _ in range(3):
        before = every.text
        every.page.locator("#openenv-sample").click()
        expect(every.page.locator("#openenv-json .cm-content")).not_to_have_text(before)
        action = every.step()
        expect(every.field("Name Who acts")).to_have_value(action["name"])
        Every.model_validate(action)


def test_an_integer_that_a_browser_would_round_is_reported(every: Sent) -> None:
    action = every.step()
    every.write(json.dumps({**action, "weight": 1e300, "value": 2**53 + 1}))
    expect(every.page.locator("#openenv-problem")).to_contain_text("9007199254740993 is too large")
    every.write(json.dumps({**action, "weight": 1e300, "value": 2**53 - 1}))
    expect(every.page.locator("#openenv-problem [role=alert]")).to_have_count(0)
    assert every.step() == {**action, "weight": 1e300, "value": 2**53 - 1}


def test_a_large_integer_that_is_typed_is_reported(every: Sent) -> None:
    every.page.get_by_label("Amount (optional)").check()
    every.field("Amount").fill(str(2**53 + 1))
    problem = every.page.locator("#openenv-problem [role=alert]")
    expect(problem).to_contain_text("Amount: This is too large for an exact number here")
    every.field("Amount").fill("1")
    expect(problem).to_have_count(0)
    assert every.step()["amount"] == 1


def test_errors_stand_at_their_fields_until_a_step_is_taken(every: Sent) -> None:
    every.radio("type").click()
    every.page.get_by_role("textbox", name="Text", exact=True).fill("")
    every.write(json.dumps({**every.step(), "amount": 0, "colour": 1, "name": "a" * 30}))
    expect(every.field("Amount")).to_be_visible()
    every.step()
    errors = every.page.locator(".openenv-error")
    expect(errors).to_have_count(4)
    for label, message in {
        "Name Who acts": "at most 20 characters",
        "Amount": "greater than or equal to 1",
        "Text": "at least 1 character",
    }.items():
        error = every.page.locator(".openenv-error", has_text=message)
        field = every.page.get_by_role("textbox", name=label).or_(
            every.page.get_by_role("spinbutton", name=label)
        )
        below = error.bounding_box()["y"] - field.first.bounding_box()["y"]
        assert 0 < below < 250
    unknown = every.page.locator(".openenv-error", has_text="colour: Extra inputs are not permitted")
    assert unknown.bounding_box()["y"] < every.field("Name Who acts").bounding_box()["y"]
    fixed = {**every.actions[-1], "name": "bob", "amount": 3, "do": {"kind": "type", "text": "hi"}}
    del fixed["colour"]
    every.write(json.dumps(fixed))
    expect(every.field("Name Who acts")).to_have_value("bob")
    every.step()
    expect(errors).to_have_count(0)
    expect(every.field("Name Who acts")).to_have_value("bob")


def test_enter_in_a_line_of_text_makes_a_step(every: Sent) -> None:
    every.field("Name Who acts").fill("bob")
    assert every.after(lambda: every.field("Name Who acts").press("Enter"))["name"] == "bob"


def test_what_a_schema_says_is_text(visit: Visit) -> None:
    """Another server's words run no code, and load nothing from elsewhere: `visit` checks that."""
    words = "*A* $x$ <img src='http://other.test/a' onerror='boom()'> ![b](http://other.test/b) <b>c</b>"
    part = {"type": "string", "title": words, "description": words, "examples": [words]}
    inside = {"type": "object", "properties": {words: part}, "required": [words], "description": words}
    choice = {"enum": [words, "other"], "description": words}
    properties = {"it": part, "inside": inside, "choice": choice, "many": {"type": "array", "items": part}}
    schema = {"properties": properties, "required": [*properties], "description": words}
    with shown(visit, schema) as sent:
        sent.button("Add to many").click()
        sent.button("Remove 1").wait_for()
        sent.write('{"it": "<img src=http://other.test/c>}')
        sent.page.locator("#openenv-problem [role=alert]").wait_for()
        assert sent.page.get_by_text(words).count() >= 6
        assert sent.page.locator("main img, main b").count() == 0


def test_each_field_has_a_name_for_screen_readers(every: Sent) -> None:
    every.page.locator("#openenv-sample").click()
    every.page.wait_for_timeout(1000)
    nameless = every.page.evaluate(
        """() => [...document.querySelectorAll("main input, main textarea, main button, main [role=textbox]")]
            .filter((element) => element.offsetParent && !element.labels?.length && !element.ariaLabel
                && !element.title && !element.textContent.trim() && !element.ariaLabelledByElements?.length)
            .map((element) => element.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


def test_keys_and_buttons_make_moves(visit: Visit) -> None:
    with shown(visit, MOVES) as sent:
        page = sent.page
        page.locator("[aria-pressed=true]").wait_for()
        for key, move in {"ArrowLeft": 3, "ArrowUp": 0, "1": 1, "ArrowDown": 2}.items():
            assert sent.after(lambda key=key: page.keyboard.press(key)) == {"move": move}
            expect(page.locator("[aria-pressed=true]")).to_have_text(re.compile(rf"\s{move}]"))
            expect(page.locator("#openenv-json")).to_contain_text(f'"move": {move}')
        assert sent.after(lambda: sent.button("left [← 3]").click()) == {"move": 3}


def test_a_long_name_fits_its_button(visit: Visit) -> None:
    names = ["pick up the key", "incomprehensibilities", "c", "d", "e"]
    schema = {"properties": {"do": {"enum": names}}, "required": ["do"]}
    with shown(visit, schema) as sent:
        for place in range(2):
            button = sent.page.locator(f"#openenv-move-{place}")
            assert button.evaluate("it => it.scrollWidth <= it.clientWidth")


def test_the_tab_key_leaves_the_editor(visit: Visit) -> None:
    with shown(visit, MOVES) as sent:
        before = sent.text
        sent.page.locator("#openenv-json .cm-content").click()
        sent.page.keyboard.press("Tab")
        assert sent.page.evaluate("!document.activeElement.closest('.cm-editor')")
        assert sent.text == before


def test_a_key_that_is_pressed_during_a_step_waits_for_it(visit: Visit) -> None:
    with shown(visit, MOVES, takes_s=0.5) as sent:
        page = sent.page
        page.locator("[aria-pressed=true]").wait_for()
        sent.after(lambda: page.keyboard.press("ArrowLeft"))
        sent.after(lambda: page.keyboard.press("ArrowUp"))
        page.wait_for_timeout(1500)
        assert sent.actions == [{"move": 3}, {"move": 0}]


def test_keys_do_nothing_while_a_text_is_typed(visit: Visit) -> None:
    with shown(visit, MOVES) as sent:
        page = sent.page
        sent.field("Elsewhere").press("1")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Control+1")
        page.wait_for_timeout(500)
        sent.write('{"move": 2}')
        page.wait_for_timeout(500)
        assert sent.actions == []
        assert sent.step() == {"move": 2}


def test_a_tool_is_chosen_and_has_its_arguments(visit: Visit) -> None:
    with shown(visit, action_schema(CallToolAction), CallToolAction, SHELF) as sent:
        page = sent.page
        expect(page.get_by_text("Look at the shelf.")).to_be_visible()
        assert sent.step() == {"type": "call_tool", "tool_name": "look", "arguments": {}}
        sent.radio("put").click()
        expect(page.get_by_text("Put an item on the shelf.")).to_be_visible()
        sent.field("Item The item").fill("egg")
        arguments = {"item": "egg", "count": 1}
        assert sent.step() == {"type": "call_tool", "tool_name": "put", "arguments": arguments}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_fits_a_phone(visit: Visit, every_url: tuple[str, list[Any]], scheme: str) -> None:
    playground = visit(every_url[0], viewport=PHONE, color_scheme=scheme)
    playground.page.get_by_label("Name Who acts", exact=True).wait_for()
    playground.page.locator("#openenv-sample").click()
    playground.page.wait_for_timeout(1000)
    assert playground.width <= PHONE["width"]
