"""Whatever stands in a message, a codec reads it or refuses it; it fails in no other way."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import codec_from_space
from openenv_gym.spaces.codecs.base import Codec
from openenv_gym.spaces.columns import column_of, payloads
from openenv_gym.spaces.misfits import fit, rule_of
from openenv_gym.wire import v2
from tests.faults import wild
from tests.gym.test_spaces import GYMNASIUM_SPACES
from tests.gym.test_spaces_golden import compiled
from tests.support.realistic import ENVIRONMENTS

COUNT = 2
CODECS: dict[str, Codec] = {
    **{str(space): codec_from_space(space) for space in GYMNASIUM_SPACES},
    **{name: compiled(model).codec for name, model in ENVIRONMENTS.items()},
}


def widest(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The widest bounds of a `Box`."""
    return (0, np.iinfo(dtype).max) if dtype.kind == "u" else (-np.inf, np.inf)


NUMBERS: dict[str, Codec] = {
    str(space): codec_from_space(space)
    for dtype in (np.int8, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64)
    for space in (
        spaces.Box(*widest(np.dtype(dtype)), (), dtype),
        spaces.Box(0, 3, (2,), dtype),
        spaces.Box(0, 3, (0, 2), dtype),
    )
}


@pytest.mark.parametrize("name", [*CODECS, *NUMBERS])
@pytest.mark.parametrize("payload", ["x", "3", 1.5, True, 2**70, -(2**63), 1e400, [], ["x"], {}, {"a": 1}])
def test_what_does_not_fit_is_named_and_replaced(name: str, payload: Any) -> None:
    codec = {**CODECS, **NUMBERS}[name]
    element, misfits = fit(codec, payload)
    assert codec.space.contains(element)
    assert all(isinstance(misfit, str) for misfit in misfits)


@pytest.mark.parametrize(
    ("space", "rule"),
    [
        (spaces.Box(-np.inf, np.inf, (), np.int64), "a whole number (int64)"),
        (spaces.Box(0, np.inf, (), np.int64), "a whole number (int64)"),
        (spaces.Box(0, 1_000_000, (), np.int64), "a whole number from 0 to 1000000 (int64)"),
        (spaces.Box(-0.5, 0.5, (3,), np.float64), "numbers of shape (3,) from -0.5 to 0.5 (float64)"),
        (spaces.Box(-np.inf, np.inf, (), np.float32), "a number (float32)"),
        (spaces.Box(0, 1, (0,), np.uint8), "whole numbers of shape (0,) (uint8)"),
    ],
    ids=str,
)
def test_the_rule_of_numbers_has_the_bounds_that_say_something(space: spaces.Box, rule: str) -> None:
    assert rule_of(space) == rule


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_reads_or_refuses(name: str) -> None:
    codec = CODECS[name]
    column = column_of(codec)
    codec.space.seed(5)
    good = [[codec.encode(codec.space.sample()) for _ in range(COUNT)] for _ in range(5)]

    @settings(
        max_examples=settings().max_examples // 10,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(wild.mutated(st.sampled_from(good), wild.MSGPACK_VALUES))
    def read(sent: Any) -> None:
        try:
            request = v2.decode_request(b"".join(v2.encode(v2.Step(id=1, slots=[], actions=sent))))
        except (v2.BadMessageError, OverflowError):
            return  # no message at all
        assert isinstance(request, v2.Step)
        for use in (
            lambda wire: column.elements(wire, COUNT),
            lambda wire: column.write(wire, column.allocate(COUNT), slice(None)),
            lambda wire: [codec.decode(payload) for payload in payloads(wire, COUNT)],
        ):
            with contextlib.suppress(SpaceError, RecursionError):
                use(request.actions)

    read()
