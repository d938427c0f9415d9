"""The keys of the choices of an action."""

from __future__ import annotations

from typing import Any

from openenv_server.playground.keys import Moves, keys_of, moves_of
from openenv_server.playground.schema_fields import field_of_action


def moves(part: dict[str, Any], **others: Any) -> Moves | None:
    return moves_of(field_of_action({"properties": {"move": part, **others}, "required": ["move", *others]}))


def test_directions_have_arrows() -> None:
    assert keys_of(["up", "right", "down", "left"], ["up", "right", "down", "left"]) == [
        ("ArrowUp", "0"),
        ("ArrowRight", "1"),
        ("ArrowDown", "2"),
        ("ArrowLeft", "3"),
    ]
    assert [keys[0] for keys in keys_of([0, 1], ["turn left", "go north"])] == ["ArrowLeft", "ArrowUp"]


def test_other_names_have_the_first_letter_that_is_free() -> None:
    names = ["fire", "fold", "FREEZE", "éé"]
    assert keys_of(names, names) == [("f", "0"), ("o", "1"), ("r", "2"), ("3",)]


def test_a_name_of_two_directions_has_a_letter() -> None:
    names = ["up", "right", "upright fire", "up right"]
    assert [keys[0] for keys in keys_of(names, names)] == ["ArrowUp", "ArrowRight", "u", "p"]


def test_a_digit_is_the_number_itself() -> None:
    assert keys_of([5, 6, 12], ["5", "6", "12"]) == [("5",), ("6",), ()]
    assert keys_of([-1, 1], ["-1", "1"]) == [("0",), ("1",)]


def test_an_action_of_one_small_choice_is_moved() -> None:
    found = moves({"enum": ["hit", "stand"]})
    assert found is not None
    assert found.path == ("move",)
    assert [move.caption for move in found.moves] == [
        "hit [H\N{NO-BREAK SPACE}0]",
        "stand [S\N{NO-BREAK SPACE}1]",
    ]
    assert found.have({"move": "stand"})
    assert not found.have({"move": "fly"})
    assert not found.have(3)


def test_a_discrete_space_is_moved() -> None:
    found = moves({"x-gymnasium-space": {"type": "Discrete", "n": 2, "start": 0, "dtype": "int64"}})
    assert found is not None
    assert [(move.value, move.caption, move.keys) for move in found.moves] == [
        (0, "0", ("0",)),
        (1, "1", ("1",)),
    ]


def test_other_actions_are_not_moved() -> None:
    assert moves({"type": "integer"}) is None
    assert moves({"type": "integer", "minimum": 0, "maximum": 499}) is None
    assert moves({"type": "string"}) is None
    assert moves({"enum": ["hit", "stand"]}, bet={"type": "integer"}) is None
