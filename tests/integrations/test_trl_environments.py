"""What `environment_factory` makes, called as TRL calls it. `tests/trainers` trains with TRL itself."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest

import openenv_gym
from openenv_gym.errors import CapacityError, ConfigurationError, DeadlineExceededError, EndpointError
from openenv_gym.integrations.trl import TRLEnvironment, environment_factory, reward_func
from tests.integrations.environments import kitchen, waiting
from tests.support.proxy import FaultProxy
from tests.support.servers import running, status_of, without_v2

ENVS = Path(__file__).parents[2] / "envs"


@pytest.fixture(scope="module", params=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def kitchen_url(version: str) -> Iterator[str]:
    with running(without_v2(kitchen) if version == "v1" else kitchen) as url:
        yield url


@pytest.fixture(scope="module")
def waiting_url(version: str) -> Iterator[str]:
    with running(without_v2(waiting) if version == "v1" else waiting) as url:
        yield url


def _tools(kind: type[TRLEnvironment]) -> list[str]:
    """The methods that TRL takes for tools."""
    names = [name for name, _ in inspect.getmembers(kind, predicate=inspect.isfunction)]
    return [name for name in names if not name.startswith("_") and name != "reset"]


def test_each_tool_is_a_typed_and_documented_method(kitchen_url: str) -> None:
    kind = environment_factory(kitchen_url)
    assert _tools(kind) == ["done_", "drop", "put", "send_to"]
    put: Any = kind.put  # type: ignore[attr-defined]
    assert str(inspect.signature(put)) == "(self, item: str, count: int = 1) -> str"
    assert inspect.getdoc(put) == (
        "Put something on the shelf.\n\nArgs:\n    item: What to put there: an egg, say.\n"
        "    count: How many.\n\nReturns:\n    What the environment answers."
    )
    send: Any = kind.send_to  # type: ignore[attr-defined]
    hints = get_type_hints(send)
    assert hints["to"] is dict
    assert hints["parts"] == list[dict]  # type: ignore[type-arg]
    assert hints["how"] == Literal["fast", "slow"]
    assert '"street": {"type": "string"}' in send.__doc__
    hints = get_type_hints(kind.done_)  # type: ignore[attr-defined]
    assert hints == {"mark": float | None, "why": dict[str, int] | None, "return": str}


def test_tools_are_called(kitchen_url: str) -> None:
    kind = environment_factory(kitchen_url)
    one, other = (kind() for _ in range(2))
    first, second = one.reset(prompt=[{"role": "user", "content": "Cook."}], seed=3), other.reset()
    assert (first, second) == ("", "")
    put: Callable[..., str] = one.put  # type: ignore[attr-defined]
    assert put(item="milk", count=2) == '{"egg":3,"milk":2}'
    assert put("milk") == '{"egg":3,"milk":3}'
    assert other.put(item="milk") == '{"milk":1}'  # type: ignore[attr-defined]
    assert reward_func([one, other], prompts=[], completions=[]) == [11.0, 1.0]
    assert one.send_to(to={"street": "Elm"}, parts=[{"street": "Oak"}]) == "fast to Elm 2"  # type: ignore[attr-defined]
    assert one.done_() == "None None"  # type: ignore[attr-defined]
    assert one.done_(mark=1.5, why={"a": 1}) == "1.5 {'a': 1}"  # type: ignore[attr-defined]
    assert not one.done
    assert put(item="bomb").endswith("\nThe episode has ended.")
    assert one.done
    assert put(item="egg") == "Error: The episode has ended."
    one.reset()
    assert (one.reward, one.done) == (0.0, False)
    kind.server.close()


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("put", {}, "Error: put(item, count=1): missing a required argument: 'item'."),
        ("put", {"thing": 1}, "missing a required argument: 'item'"),
        ("put", {"item": "egg", "colour": "red"}, "unexpected keyword argument 'colour'"),
        ("put", {"item": "egg", "count": "many"}, "count"),
        ("drop", {"why": "it is hot"}, "it is hot"),
        ("send_to", {"to": {"number": 2}, "parts": []}, "street"),
        ("send_to", {"to": {"street": "Elm"}, "parts": [], "how": "never"}, "how"),
    ],
)
def test_a_wrong_call_is_a_text_to_learn_from(
    tool: str, arguments: dict[str, Any], says: str, kitchen_url: str
) -> None:
    environment = environment_factory(kitchen_url)()
    environment.reset()
    answer = getattr(environment, tool)(**arguments)
    assert answer.startswith("Error: ")
    assert says in answer
    assert kitchen_url not in answer
    assert not environment.done
    assert environment.put(item="egg") == '{"egg":1}'  # type: ignore[attr-defined]


def test_an_environment_without_tools_has_a_step(waiting_url: str) -> None:
    kind = environment_factory(waiting_url)
    assert _tools(kind) == ["step"]
    step: Any = kind.step  # type: ignore[attr-defined]
    assert str(inspect.signature(step)) == "(self, seconds: float = 0.0, raises: str = '') -> str"
    assert step.__doc__.startswith("Wait.\n\nArgs:\n    seconds: How long (minimum 0)\n    raises: Raises\n")
    environment = kind()
    assert environment.reset(seed=7) == '{"count": 0, "seed": 7}'
    assert environment.step() == '{"count": 1, "seed": 7}'  # type: ignore[attr-defined]
    assert "boom" in environment.step(raises="boom")  # type: ignore[attr-defined]
    assert "greater than or equal to 0" in environment.step(seconds=-1)  # type: ignore[attr-defined]
    assert environment.reward == 1.0


def test_what_a_reset_refuses_is_an_error(waiting_url: str) -> None:
    environment = environment_factory(waiting_url)()
    with pytest.raises(openenv_gym.OpenEnvError):
        environment.reset(seed="seven")
    assert environment.step() == "Error: The episode has ended."  # type: ignore[attr-defined]
    assert environment.reset() == '{"count": 0, "seed": null}'


@pytest.mark.parametrize("app", [kitchen, waiting])
def test_a_batch_shares_one_connection(app: Any) -> None:
    opened: list[Any] = []

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            opened.append(scope)
        await app(scope, receive, send)

    with running(counting) as url:
        kind = environment_factory(url)
        batch = [kind() for _ in range(32)]
        for seed, environment in enumerate(batch, 1):
            environment.reset(seed=seed)
        assert len(opened) == 1
        for environment in reversed(batch):
            tool = _tools(kind)[-1] if app is waiting else "put"
            getattr(environment, tool)(**({} if app is waiting else {"item": "egg"}))
        rewards = [1.0] * 32 if app is waiting else [seed + 1.0 for seed in range(1, 33)]
        assert reward_func(batch) == rewards
        kind.server.close()
        assert len(opened) == 1


def test_a_batch_uses_all_processes_of_a_server() -> None:
    kind = environment_factory(gym="FrozenLake-v1", provider_options={"workers": 2, "max_sessions": 5})
    batch: list[Any] = [kind() for _ in range(10)]
    assert [environment.reset(seed=1) for environment in batch] == ["0"] * 10
    assert all(not environment.step(action=1).startswith("Error") for environment in batch)
    with pytest.raises(CapacityError):
        kind().reset()
    kind.server.close()


def test_threads_step_a_batch_at_the_same_time(waiting_url: str) -> None:
    kind = environment_factory(waiting_url)
    batch = [kind() for _ in range(16)]

    def play(environment: Any) -> float:
        environment.reset()
        while not environment.done:
            assert environment.step(seconds=0.1).startswith('{"count"')
        return float(environment.reward)

    with ThreadPoolExecutor(16) as threads:
        begin = time.perf_counter()
        assert list(threads.map(play, batch)) == [5.0] * 16
        took_s = time.perf_counter() - begin
    assert took_s < 4  # 8 s in a row
    kind.server.close()


def test_a_late_answer_costs_one_rollout(waiting_url: str) -> None:
    before = status_of(f"{waiting_url}/health")[1]["active_sessions"]
    kind = environment_factory(waiting_url, step_timeout_s=0.5)
    slow, other = kind(), kind()
    slow.reset()
    other.reset()
    with pytest.raises(DeadlineExceededError):
        slow.step(seconds=1.0)  # type: ignore[attr-defined]
    assert slow.done
    assert other.step() == '{"count": 1, "seed": null}'  # type: ignore[attr-defined]
    assert slow.reset(seed=5) == '{"count": 0, "seed": 5}'
    assert slow.step() == '{"count": 1, "seed": 5}'  # type: ignore[attr-defined]
    for _ in range(20):  # until the late answer has come
        time.sleep(0.05)
        assert slow.reset() == other.reset()
    assert status_of(f"{waiting_url}/health")[1]["active_sessions"] <= 2 + before
    kind.server.close()


def test_a_batch_survives_a_broken_connection() -> None:
    with running(waiting) as url, FaultProxy(url, faults={}) as proxy:
        kind = environment_factory(proxy.base_url)
        batch: list[Any] = [kind() for _ in range(3)]
        for environment in batch:
            environment.reset()
        proxy.cut()
        assert [environment.step() for environment in batch] == ['{"count": 1, "seed": null}'] * 3
        kind.server.close()


def test_when_the_server_is_gone_the_episodes_are_over() -> None:
    with running(waiting) as url:
        kind = environment_factory(url)
        batch: list[Any] = [kind() for _ in range(2)]
        for environment in batch:
            environment.reset()
    for environment in batch:
        with pytest.raises(EndpointError):
            environment.step()
        assert environment.done
        with pytest.raises(EndpointError):
            environment.reset()


def test_the_source_is_a_name_an_address_or_a_keyword(
    waiting_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    openenv_gym.register("text-waiting", base_url=waiting_url)
    assert environment_factory("openenv/text-waiting")().reset() == '{"count": 0, "seed": null}'
    assert environment_factory(base_url=waiting_url)().reset() == '{"count": 0, "seed": null}'
    with pytest.raises(ConfigurationError, match="path="):
        environment_factory("./my_env")
    with pytest.raises(openenv_gym.OpenEnvError, match="text-nothing"):
        environment_factory("openenv/text-nothing")


def test_chat_environments_give_the_new_messages() -> None:
    kind = environment_factory(path=ENVS / "chat_env")
    environment: Any = kind()
    assert environment.reset(seed=1, task="word", prompt="").endswith(
        "Write a sentence with the word bridge."
    )
    assert environment.step(content="No.") == (
        "That is not what I asked for. Write a sentence with the word bridge."
    )
    assert environment.step(content="A bridge.").startswith("Thank you. Write a sentence with the word")
    assert environment.reward == 0.5
    kind.server.close()


@pytest.mark.parametrize(
    ("gym_id", "hint", "right", "wrong"),
    [
        ("FrozenLake-v1", "int", 1, 9),
        ("Pendulum-v1", "list[float]", [0.5], [99.0]),
        ("Taxi-v4", "int", 0, "north"),
    ],
)
def test_gymnasium_environments_have_a_step(
    gym_id: str, hint: str, right: Any, wrong: Any, serve_gym: Callable[[str], str]
) -> None:
    kind = environment_factory(serve_gym(gym_id))
    assert str(inspect.signature(kind.step)) == f"(self, action: {hint}) -> str"  # type: ignore[attr-defined]
    batch: list[Any] = [kind() for _ in range(3)]
    assert len({environment.reset(seed=4) for environment in batch}) == 1
    assert not batch[0].step(action=right).startswith("Error")
    assert batch[0].step(action=wrong).startswith("Error: The action is refused: action: ")
    kind.server.close()


def test_images_are_left_out() -> None:
    kind = environment_factory(path=ENVS / "grid_world_env")
    assert len(kind().reset(seed=1)) < 300
    kind.server.close()
