"""The model of the state is the one that the environment's class names."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import pytest
from openenv_server import Action, Environment, Observation, State, create_app
from openenv_server.calls import state_model

from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of

ActT = TypeVar("ActT", bound=Action)
StateT = TypeVar("StateT", bound=State)


class Score(State):
    score: int = 0


class Details(Score):
    moves: int = 0


BoundT = TypeVar("BoundT", bound=Score)


class Direct(Environment[Action, Observation, Score]):
    pass


class Quoted(Environment[Action, Observation, "Score"]):
    pass


class Swapped(Environment[ActT, Observation, StateT], Generic[StateT, ActT]):
    pass


class Between(Swapped[StateT, Action]):
    pass


class Deep(Between[Details]):
    pass


class Bound(Environment[Action, Observation, BoundT]):
    pass


class Mixin:
    pass


class Mixed(Mixin, Direct):
    pass


class Annotated(Environment):  # type: ignore[type-arg]
    @property
    def state(self) -> Score:
        return Score()


class MoreSpecific(Environment[Action, Observation, State]):
    @property
    def state(self) -> Details:
        return Details()


class NoBase:
    def state(self) -> Score:
        return Score()


class Neither(Environment):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        (Direct, Score),
        (Quoted, Score),
        (Deep, Details),
        (Bound, Score),
        (Mixed, Score),
        (Annotated, Score),
        (MoreSpecific, Details),
        (NoBase, Score),
        (Neither, State),
        (None, State),
    ],
)
def test_it_is_found_in_the_class(kind: type | None, model: type) -> None:
    assert state_model(kind) is model


class Scored(Counter, Environment[CountAction, CountObservation, Score]):
    def __init__(self) -> None:
        super().__init__()


def unannotated():  # type: ignore[no-untyped-def]
    return Scored()


@pytest.mark.parametrize("factory", [Scored, unannotated])
@pytest.mark.parametrize("given", [None, Details])
def test_the_schema_has_it_unless_another_one_is_given(factory: Any, given: Any) -> None:
    app = create_app(factory, CountAction, CountObservation, state_cls=given)
    with running(app) as url:
        fields = status_of(f"{url}/schema")[1]["state"]["properties"]
    assert ("score" in fields, "moves" in fields) == (True, given is Details)
