"""Generated frames against a real server: it answers each, or closes the socket, and never hangs or dies.

``OPENENV_TEST_FRAMES`` sets how many there are in all; the tests share them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from openenv_gym.errors import ActionRefusedError
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.wire import v2
from tests.faults import wild
from tests.faults.attacker import SLOTS, Attacker, JsonAttacker, LaneAttacker
from tests.faults.health import (
    assert_all_sessions_end,
    assert_good_clients_work,
    assert_no_failure_of_its_own,
)
from tests.support.v2_client import V2Client

FRAMES = int(os.environ.get("OPENENV_TEST_FRAMES", "3000"))
EACH = FRAMES // 4
GOOD_CLIENT_EVERY = 1000

pytestmark = [pytest.mark.timeout(120 + FRAMES // 50)]

# What there has to be some of, as attacks that all fail in the same way would show little.
_REFUSED = {"VALIDATION_ERROR", "UNKNOWN_TYPE", "INVALID_JSON", "closed 1000", "closed 1002"}
OUTCOMES = {
    1: _REFUSED | {"observation", "state", "closed 1003", "closed 1007"},
    2: _REFUSED | {"Opened", "Result", "Values", "Closed", "UNKNOWN_SESSION"},
}


def gymnasium_actions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"action": st.integers(0, 1)})


def authors_actions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    part = st.fixed_dictionaries({"name": st.just("x"), "weights": st.lists(st.floats(0, 1), max_size=3)})
    return st.fixed_dictionaries(
        {"button": st.sampled_from("ab"), "force": st.integers(0, 250)},
        optional={
            "part": st.none() | part,
            "tags": st.dictionaries(st.sampled_from("ab"), values, max_size=2),
        },
    )


def withstand(
    server: ProcessProvider,
    version: int,
    actions: Callable[[st.SearchStrategy[Any]], st.SearchStrategy[Any]],
) -> None:
    attacker: Attacker
    if version == 1:
        attacker = JsonAttacker(server.base_url)
        messages = wild.v1_messages(actions(wild.JSON_VALUES))
    else:
        attacker = LaneAttacker(server.base_url)
        messages = wild.v2_messages(actions(wild.MSGPACK_VALUES), SLOTS)

    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],  # smaller attacks would meet a server with another past
        suppress_health_check=list(HealthCheck),
    )
    @given(wild.attacks(messages))
    def attack_once(attack: wild.Attack) -> None:
        attacker.attack(attack)
        assert_no_failure_of_its_own(server)
        if attacker.sent % GOOD_CLIENT_EVERY == 0:
            assert_good_clients_work(server.base_url)

    attack_once()
    attacker.close()
    assert attacker.sent >= EACH
    assert set(attacker.outcomes) >= OUTCOMES[version]
    assert_all_sessions_end(server.base_url)
    assert_good_clients_work(server.base_url)
    print(f"{attacker.sent:,} frames on {attacker.sockets:,} sockets: {attacker.outcomes}")


@pytest.mark.parametrize("version", [1, 2])
def test_a_gymnasium_server_withstands_generated_frames(
    gymnasium_server: ProcessProvider, version: int
) -> None:
    withstand(gymnasium_server, version, gymnasium_actions)


@pytest.mark.parametrize("version", [1, 2])
def test_an_authors_server_withstands_generated_frames(authors_server: ProcessProvider, version: int) -> None:
    withstand(authors_server, version, authors_actions)


@pytest.mark.parametrize("kind", [v2.Open, v2.Reset, v2.Step, v2.GetState, v2.Close])
def test_a_message_about_very_many_slots_is_refused_at_once(
    gymnasium_server: ProcessProvider, kind: type[v2.Request]
) -> None:
    client = V2Client(gymnasium_server.base_url)
    many = list(range(2**18))
    fields: dict[str, Any] = {"actions": many} if kind is v2.Step else {}
    with pytest.raises(ActionRefusedError, match="16,384 slots"):
        client.ask(kind(id=1, slots=many, **fields), "too much")
    client.open([0])
    client.close()
