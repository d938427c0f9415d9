"""For any model: what is sampled is accepted, and what is observed is in the space and comes back equal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from openenv_gym.spaces import action_codec, observation_codec
from tests.support.models import Made, json_of, models


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:.*Casting input x")
@given(made=models(), data=st.data())
def test_any_model(made: Made, data: st.DataObject) -> None:
    model = made.model
    actions = action_codec(model.model_json_schema())
    observations = observation_codec(model.model_json_schema(mode="serialization"))
    actions.space.seed(0)
    for _ in range(3):
        element = actions.space.sample()
        assert element in actions.space
        check_observed(observations, model.model_validate(actions.encode(element)))
    for _ in range(3):
        check_observed(observations, model.model_validate(data.draw(made.values)))


def check_observed(observations: Any, instance: BaseModel) -> None:
    observed = {key: value for key, value in json_of(instance).items() if key != "metadata"}
    seen = observations.decode(observed)
    assert seen in observations.space
    assert observations.encode(seen) == observed
