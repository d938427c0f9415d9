"""Steps that do not name their slots, but mean those that were named last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app, gymnasium_factory, vector_factory

import openenv_gym  # noqa: F401  (registers the ids)
from openenv_gym.errors import RemoteError
from openenv_gym.session import v2 as session_v2
from openenv_gym.wire import v2
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running
from tests.support.v2_client import V2Client


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


def cart_poles(num_envs: int) -> Any:
    return gym.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")


@pytest.fixture(scope="module")
def counting() -> Iterator[str]:
    with running(create_app(Sharing, CountAction, CountObservation, max_concurrent_envs=8)) as base_url:
        yield base_url


@pytest.fixture
def client(counting: str) -> Iterator[V2Client]:
    client = V2Client(counting)
    client.open(range(3))
    yield client
    client.close()


def add(client: V2Client, amounts: list[int], slots: list[int] | None = None) -> v2.Result:
    """Add an amount in each slot; without ``slots`` in those that were named last."""
    actions = [{"amount": amount} for amount in amounts]
    number = client.next_id()
    client.send_bytes(
        *v2.encode(v2.Step(id=number, slots=slots or [], actions=actions, same_slots=slots is None))
    )
    answer = v2.decode_answer(client.receive_bytes())
    if isinstance(answer, v2.Failed):
        raise RemoteError(answer.message)
    assert isinstance(answer, v2.Result)
    return answer


def reset(client: V2Client, slots: list[int]) -> None:
    client.ask(v2.Reset(id=client.next_id(), slots=slots), "reset")


def totals(result: v2.Result) -> dict[int, int]:
    """The total of each slot, of an answer that names its slots."""
    totals = [observation["total"] for observation in result.observations]
    return dict(zip(result.slots, totals, strict=True))


def test_the_slots_are_those_of_the_last_request_that_named_some_in_its_order(client: V2Client) -> None:
    reset(client, [2, 0, 1])
    add(client, [1, 2, 3])
    assert totals(add(client, [1, 2], [1, 2])) == {1: 4, 2: 3}
    add(client, [1, 2])
    assert totals(add(client, [0, 0, 0], [0, 1, 2])) == {0: 2, 1: 5, 2: 5}


def test_an_answer_about_all_of_them_does_not_name_them_either(client: V2Client) -> None:
    reset(client, [1])
    assert not add(client, [1], [1]).same_slots
    result = add(client, [1])
    assert result.same_slots
    assert result.slots == []
    assert result.observations[0]["total"] == 2


def test_an_answer_with_an_error_names_the_others(client: V2Client) -> None:
    reset(client, [0, 1, 2])
    number = client.next_id()
    actions = [{"amount": 1}, {"amount": "x"}, {"amount": 3}]
    client.send_bytes(*v2.encode(v2.Step(id=number, slots=[], actions=actions, same_slots=True)))
    answered: list[int] = []
    while len(answered) < 3:
        answer = v2.decode_answer(client.receive_bytes())
        assert isinstance(answer, v2.Result)
        assert not answer.same_slots
        answered += [*answer.slots, *(error.slot for error in answer.errors)]
    assert sorted(answered) == [0, 1, 2]


def test_slots_that_were_never_named_cannot_be_meant(client: V2Client) -> None:
    with pytest.raises(RemoteError, match="No reset or step before this one has named slots"):
        add(client, [1])


def test_slots_that_were_named_by_a_refused_request_cannot_be_meant(client: V2Client) -> None:
    reset(client, [0, 1])
    with pytest.raises(RemoteError, match="only once"):
        add(client, [1, 1], [0, 0])
    with pytest.raises(RemoteError, match="No reset or step"):
        add(client, [1, 1])


@pytest.mark.parametrize("is_vectorized", [False, True], ids=["one by one", "vectorized"])
def test_a_vector_environment_names_its_slots_only_when_they_change(
    is_vectorized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[v2.Step] = []
    encode = v2.encode

    def noted(message: Any, *arguments: Any) -> Any:
        if isinstance(message, v2.Step):
            sent.append(message)
        return encode(message, *arguments)

    monkeypatch.setattr(session_v2.v2, "encode", noted)
    if is_vectorized:
        factory, models = vector_factory(cart_poles)
    else:
        factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
    app = create_app(factory, models.action, models.observation, max_concurrent_envs=8)
    with running(app) as base_url:
        env: Any = gym.make_vec("openenv/remote", base_url=base_url, num_envs=4)
        local = cart_poles(4) if is_vectorized else gym.make_vec("CartPole-v1", 4, vectorization_mode="sync")
        env.reset(seed=7)
        local.reset(seed=7)
        for step in range(60):
            actions = np.array([step % 2, 1, 0, 1])
            for ours, theirs in zip(env.step(actions)[:4], local.step(actions)[:4], strict=True):
                np.testing.assert_array_equal(ours, theirs)
        env.close()
    assert [step.slots for step in sent] == [[]] * 60
    assert all(step.same_slots for step in sent)
