"""Version 1 of the protocol: every shape that servers send, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openenv_gym.errors import ProtocolError
from openenv_gym.wire import v1
from openenv_gym.wire.codes import ErrorCode


def answer(data: dict[str, Any], kind: str = "observation") -> v1.Answer:
    return v1.decode_answer(json.dumps({"type": kind, "data": data}))


def step_answer(**data: Any) -> v1.StepAnswer:
    decoded = answer({"observation": {}, **data})
    assert isinstance(decoded, v1.StepAnswer)
    return decoded


def test_metadata_is_taken_from_inside_and_from_beside() -> None:
    decoded = step_answer(observation={"x": 1, "metadata": {"a": 1, "b": 1}}, metadata={"b": 2})
    assert decoded.metadata == {"a": 1, "b": 2}
    assert decoded.observation == {"x": 1}


def test_flags_inside_the_observation_are_accepted() -> None:
    decoded = step_answer(observation={"x": 1, "done": True, "reward": 2})
    assert (decoded.terminated, decoded.reward, decoded.observation) == (True, 2, {"x": 1})


@pytest.mark.parametrize(
    ("data", "terminated", "truncated"),
    [
        ({"done": False}, False, False),
        ({"done": True}, True, False),
        ({"done": True, "truncated": True}, False, True),
        ({"done": True, "truncated": False}, True, False),
        ({"done": True, "metadata": {"truncated": True}}, False, True),
        ({"done": True, "metadata": {"TimeLimit.truncated": True}}, False, True),
        ({"done": True, "truncated": True, "metadata": {"terminated": True}}, True, True),
        ({"done": False, "truncated": True}, False, False),
        ({}, False, False),
    ],
)
def test_done_becomes_terminated_or_truncated(
    data: dict[str, Any], terminated: bool, truncated: bool
) -> None:
    decoded = step_answer(**data)
    assert (decoded.terminated, decoded.truncated) == (terminated, truncated)


def test_an_authors_own_field_named_truncated_stays_a_field() -> None:
    decoded = step_answer(observation={"output": "…", "truncated": True}, done=True)
    assert decoded.observation == {"output": "…", "truncated": True}
    assert (decoded.terminated, decoded.truncated) == (True, False)


def test_errors_and_states() -> None:
    assert answer({"message": "m", "code": "X", "more": 1}, "error") == v1.ErrorAnswer("m", "X", {"more": 1})
    assert answer({"step_count": 1}, "state") == v1.StateAnswer({"step_count": 1})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"type":"observation"}', '{"type":"new","data":{}}', "[" * 10**5]
)
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(ProtocolError):
        v1.decode_answer(text)


def test_an_answer_without_an_observation() -> None:
    with pytest.raises(ProtocolError, match="no observation"):
        answer({"reward": 1})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nope", ErrorCode.INVALID_JSON),
        ("[" * 10**5, ErrorCode.INVALID_JSON),
        ("[]", ErrorCode.VALIDATION_ERROR),
        ("{}", ErrorCode.UNKNOWN_TYPE),
        ('{"type":"step","data":[]}', ErrorCode.VALIDATION_ERROR),
        ('{"type":"step","timeout_s":0}', ErrorCode.VALIDATION_ERROR),
        ('{"type":"step","timeout_s":NaN}', ErrorCode.VALIDATION_ERROR),
        ('{"type":"step","timeout_s":true}', ErrorCode.VALIDATION_ERROR),
        ('{"type":"step","timeout_s":"3"}', ErrorCode.VALIDATION_ERROR),
    ],
)
def test_requests_that_cannot_be_read(text: str, code: ErrorCode) -> None:
    with pytest.raises(v1.BadRequestError) as caught:
        v1.decode_request(text)
    assert caught.value.code == code


def test_requests_come_back() -> None:
    assert v1.decode_request(v1.encode_reset({"seed": 1})) == v1.Request("reset", {"seed": 1})
    assert v1.decode_request(v1.encode_step({"a": [1.5]})) == v1.Request("step", {"a": [1.5]})
    assert v1.decode_request(v1.STATE_REQUEST) == v1.Request("state", {})
    assert v1.decode_request(v1.encode_step({}, 2.5)) == v1.Request("step", {}, 2.5)
    assert v1.decode_request(v1.encode_reset({}, 3)) == v1.Request("reset", {}, 3)
    assert "timeout_s" not in v1.encode_step({}) + v1.encode_reset({}) + v1.encode_close()
    assert v1.decode_request('{"type":"close","data":null,"more":1}') == v1.Request("close", {})
