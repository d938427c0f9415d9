"""Whatever stands in a message, a codec reads it or refuses it; it fails in no other way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import codec_from_space
from openenv_gym.spaces.codecs.base import Codec
from openenv_gym.spaces.columns import column_of, payloads
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
