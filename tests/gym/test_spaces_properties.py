"""For any model: what is sampled is accepted, and what is observed is in the space and comes back equal.

Pydantic is the judge: a sample is accepted if the model takes its JSON, and an observation comes back equal
if its JSON is what the model dumps.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from openenv_gym.spaces import action_codec, observation_codec
from openenv_gym.spaces.casting import cast
from tests.support.models import Made, json_of, models, values_of

# By hypothesis' profile: many more than for other tests, as each model is a combination of few kinds.
MODELS = {"quick": 50, "ci": 2000, "long": 20_000}


@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("error::UserWarning")
@settings(max_examples=MODELS.get(settings.get_current_profile_name(), 50))
@given(made=models(), data=st.data())
def test_any_model(made: Made, data: st.DataObject) -> None:
    for kind in made.kinds:
        event(kind)
    model = made.model
    actions = action_codec(model.model_json_schema())
    observations = observation_codec(model.model_json_schema(mode="serialization"))
    actions.space.seed(0)
    for _ in range(3):
        element = cast(actions.space, actions.space.sample())
        payload = json.dumps(actions.encode(element), allow_nan=False)
        check_observed(observations, model.model_validate_json(payload))
    for _ in range(3):
        check_observed(observations, model.model_validate_json(json.dumps(data.draw(made.values))))


def check_observed(observations: Any, instance: BaseModel) -> None:
    """Check both forms: JSON, in which NaN and infinity are null, and messages, which have them."""
    for dumped in (json_of(instance), values_of(instance)):
        observed = {key: value for key, value in dumped.items() if key != "metadata"}
        seen = observations.decode(observed)
        back = observations.encode(seen)
        assert is_same(back, observed)
        if "NaN" not in json.dumps(back):  # which is in no Box of Gymnasium
            assert seen in observations.space


def is_same(back: Any, observed: Any) -> bool:
    """Whether JSON values are equal, null for NaN and infinity included."""
    if isinstance(observed, dict):
        return back.keys() == observed.keys() and all(is_same(back[key], observed[key]) for key in observed)
    if isinstance(observed, list):
        return len(back) == len(observed) and all(map(is_same, back, observed))
    if isinstance(observed, float) and not math.isfinite(observed):
        return back is None or str(float(back)) == str(observed)
    if observed is None:
        return back in (None, "NaN")
    return type(back) is type(observed) and bool(back == observed)
