"""The environment: episodes, tasks, and rewards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coding_env import CodingAction
from coding_env.server.coding_environment import CodingEnvironment


@pytest.fixture
def environment() -> Iterator[CodingEnvironment]:
    environment = CodingEnvironment()
    yield environment
    environment.close()


def test_a_program_is_observed(environment: CodingEnvironment) -> None:
    first = environment.reset(episode_id="mine")
    assert (first.stdout, first.exit_code, first.reward, first.done) == ("", 0, None, False)
    assert first.metadata["isolation"] in ("namespaces", "landlock")
    assert first.metadata["limits"]["timeout_s"] == 10
    seen = environment.step(CodingAction(code="print(input()[::-1])", stdin="abc"))
    assert (seen.stdout, seen.stderr, seen.exit_code, seen.reward, seen.done) == ("cba\n", "", 0, 0.0, False)
    assert (environment.state.episode_id, environment.state.step_count) == ("mine", 1)
    assert environment.state.duration_s > 0


def test_an_episode_begins_with_an_empty_folder(environment: CodingEnvironment) -> None:
    environment.reset()
    environment.step(CodingAction(code="open('notes', 'w').write('x')"))
    assert environment.step(CodingAction(code="import os; print(os.listdir())")).stdout == "['notes']\n"
    environment.reset()
    assert environment.step(CodingAction(code="import os; print(os.listdir())")).stdout == "[]\n"


def test_the_client_may_allow_less_time(environment: CodingEnvironment) -> None:
    environment.reset()
    seen = environment.step(CodingAction(code="while True: pass"), timeout_s=0.3)
    assert (seen.timed_out, seen.exit_code, seen.metadata) == (True, -9, {"stopped_by": "time"})


def test_the_expected_output_solves_a_task(environment: CodingEnvironment) -> None:
    environment.reset(expected_stdout="42")
    for code, reward in (("print(41)", 0.0), ("print(42); 1 / 0", 0.0), ("print(42)", 1.0)):
        seen = environment.step(CodingAction(code=code))
        assert (seen.reward, seen.done) == (reward, reward == 1.0)


TESTS = "assert add(1, 2) == 3\nassert add('a', 'b') == 'ab'"


@pytest.mark.parametrize(
    ("code", "reward"),
    [
        ("def add(a, b): return a + b", 1.0),
        ("from __future__ import annotations\ndef add(a: X, b: X): return a + b\nprint('x' * 10)", 1.0),
        ("def add(a, b): return 3", 0.0),
        ("import sys; sys.exit(0)", 0.0),
        ("import os; os._exit(0)", 0.0),
        ("def add(a, b): return a + b\nassert False", 0.0),
        ("'''", 0.0),
    ],
)
def test_tests_that_pass_solve_a_task(code: str, reward: float, environment: CodingEnvironment) -> None:
    environment.reset(tests=TESTS)
    seen = environment.step(CodingAction(code=code))
    assert (seen.reward, seen.done) == (reward, reward == 1.0)
    assert "add(1, 2)" not in seen.stderr


def test_a_step_before_the_first_reset_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="call reset before step"):
        CodingEnvironment().step(CodingAction(code=""))


def test_unknown_keywords_of_a_reset_are_refused(environment: CodingEnvironment) -> None:
    with pytest.raises(TypeError, match="Unknown options of reset: expected"):
        environment.reset(expected="42")
