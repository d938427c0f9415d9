"""Observations as HTML."""

from __future__ import annotations

import numpy as np
from openenv_server.playground.figures import figure
from openenv_server.playground.observation_view import compact, tree, view
from openenv_server.playground.reward_plot import reward_plot


def test_images_come_first_as_images() -> None:
    html = view({"text": "a\nb", "frame": np.full((9, 12, 3), 200, np.uint8)})
    assert html.index("<img") < html.index("<pre")
    assert 'alt="frame" width="480" height="360"' in html  # enlarged by a whole number
    assert view({"frame": np.full((9, 12, 3), 200, np.uint8).tolist()}).count("<img") == 1
    assert "Heat map" not in view({"black": np.zeros((9, 9, 3), np.uint8)})
    assert "Heat map" in view({"switches": np.eye(9, dtype=np.uint8)[:, :, None].repeat(3, axis=2)})
    assert 'src="data:image/png;base64,AAAA"' in view({"shot": "data:image/png;base64,AAAA"})


def test_a_grid_of_kinds_is_a_table_and_a_large_array_a_heat_map() -> None:
    grid = view({"cells": np.eye(8, dtype=np.uint8)})
    assert grid.count("<td") == 64
    assert "<img" not in grid
    assert "Heat map of field" in view({"field": np.zeros((40, 40), np.float32)})
    assert "Heat map of field" in view({"field": [float("nan")] * 500})
    assert len(view({"field": np.random.default_rng(1).random((3000, 3000))})) < 5_000_000


def test_lists_of_messages_are_chats() -> None:
    html = view({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ["x"]}]})
    assert html.count("<li") == 2
    assert 'class="pg-user"' in html
    assert "… 20 earlier" in view({"messages": [{"role": "user", "content": "Hi"}] * 120})


def test_nested_data_is_a_tree_and_short_values_are_facts() -> None:
    html = view({"inner": {"a": [1, {"b": None}]}, "done": True, "name": "x", "ratio": 0.25})
    assert html.count("<details") == 3
    assert "<dt>done</dt><dd>yes</dd>" in html
    assert ">0.25<" in html
    assert "100 more" in tree(list(range(200)))


def test_the_arrays_of_dictionaries_are_shown_as_others() -> None:
    eyes = {"left": {"frame": np.full((9, 12, 3), 200, np.uint8)}, "angle": 0.5}
    html = view({"observation": {"eyes": eyes, "mission": "go"}})
    assert "<table" in view({"observation": {"row": [0.5, 1.5], "mission": "go"}})
    assert 'alt="eyes.left.frame"' in html
    assert "<dt>eyes.angle</dt>" in html
    assert "<dt>mission</dt>" in html
    assert "<details" not in html


def test_what_an_environment_says_is_never_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    observation = {
        evil: evil,
        "long": evil * 5,
        "chat": [{"role": evil, "content": evil}],
        "tree": {evil: [evil, {}]},
        "numbers": {evil: 1},
    }
    html = view(observation, render=evil)
    assert "<img" not in html
    assert "<img" not in view({"shot": f'data:image/png;base64,AA"{evil}'})


def test_the_servers_render_is_beside_the_observation() -> None:
    assert "as the server renders it" in view({"x": 1}, np.zeros((9, 9, 3), np.uint8))
    assert "+--+" in view({"x": 1}, "+--+")


def test_numbers_are_readable_and_whole_ones_exact() -> None:
    numbers = {1234567.0: "1234567", 123456.789: "123456.8", 0.123456: "0.1235", -0.0: "0", 1e-9: "1e-09"}
    for number, text in numbers.items():
        assert f">{text}</span>" in view({"x": number})
        assert f">{text}</td>" in view({"x": np.array([number])})
    for integer in (2**60 + 1, np.int64(2**60 + 1), np.array(2**60 + 1)):
        assert f">{2**60 + 1}<" in view({"x": integer})
    assert [figure(value) for value in (float("nan"), float("-inf"), 1e300)] == ["nan", "-inf", "1e+300"]


def test_an_action_on_one_line_has_the_arguments_of_a_tool() -> None:
    call = {"type": "call_tool", "tool_name": "put", "arguments": {"item": "egg", "count": 3}}
    assert compact(call).endswith('{"item": "egg", "count": 3}}')
    assert len(compact({"text": "a" * 1000})) == 161


def test_rewards_are_plotted_with_their_range() -> None:
    assert "Rewards are plotted here" in reward_plot([])
    svg = reward_plot([1.0, -2.0, 0.5])
    assert svg.count("<rect") == 3
    assert 'aria-label="Rewards of steps 1 to 3, from -2 to 1"' in svg
    assert "Rewards of steps 301 to 500" in reward_plot([1.0] * 500)
    infinite = reward_plot([float("inf"), 1.0, float("-inf")])
    assert "from -inf to inf" in infinite
    assert "nan" not in infinite
