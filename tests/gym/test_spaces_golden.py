"""The spaces of environments as people write them, each in a file that shows in a diff.

Set ``OPENENV_UPDATE_GOLDEN=1`` to write the files anew, and read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import settings
from pydantic import BaseModel

from openenv_gym.spaces import CompiledSchema, compile_action, compile_observation
from openenv_gym.types import Action
from tests.support.models import json_of
from tests.support.realistic import ENVIRONMENTS

GOLDEN = Path(__file__).parent / "golden"


def compiled(model: type[BaseModel]) -> CompiledSchema:
    if issubclass(model, Action):
        return compile_action(model.model_json_schema())
    return compile_observation(model.model_json_schema(mode="serialization"))


def shown(model: type[BaseModel]) -> str:
    blocks = []
    for finding in compiled(model).report:
        block = f"{finding.path}\n    {finding.space}\n    by the rule: {finding.rule}\n"
        blocks.append(block + (f"    inexact: {finding.inexact}\n" if finding.inexact else ""))
    return "\n".join(blocks)


def test_there_are_enough() -> None:
    assert len(ENVIRONMENTS) >= 25
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(ENVIRONMENTS)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_space_is_as_it_was(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("OPENENV_UPDATE_GOLDEN"):
        path.write_text(shown(ENVIRONMENTS[name]))
    assert shown(ENVIRONMENTS[name]) == path.read_text()


# A space cannot say a pattern or a multiple, so what it samples is not what the server takes.
INEXACT = {
    "TradeOrder": ("symbol", "pattern"),
    "CrmRecord": ("customer.address|0.postcode", "pattern"),
    "BrowserAction": ("do|2.dy", "multipleOf"),
}


@pytest.mark.filterwarnings("ignore:.*Casting input x")
@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name not in INEXACT])
def test_samples_are_accepted_and_come_back(name: str) -> None:
    """By the model, and by a JSON Schema validator that is not ours."""
    model = ENVIRONMENTS[name]
    codec = compiled(model).codec
    observations = compile_observation(model.model_json_schema(mode="serialization")).codec
    validator = jsonschema.Draft202012Validator(model.model_json_schema())
    codec.space.seed(3)
    for _ in range(2 if name == "AtariFrame" else settings().max_examples // 50):
        payload = codec.encode(codec.space.sample())
        validator.validate(payload)
        observed = json_of(model.model_validate(payload))
        element = observations.decode(observed)
        assert element in observations.space
        assert observations.encode(element).items() <= observed.items()


@pytest.mark.parametrize("name", INEXACT)
def test_what_only_the_server_checks_is_reported(name: str) -> None:
    path, keyword = INEXACT[name]
    notes = {finding.path: finding.inexact for finding in compiled(ENVIRONMENTS[name]).report}
    assert notes[path] == f"only the server checks {keyword}"
