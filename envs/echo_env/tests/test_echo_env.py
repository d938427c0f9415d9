from echo_env import EchoAction
from echo_env.server.echo_environment import (
    EPISODE_STEPS,
    EchoEnvironment,
)


def test_it_echoes_its_input() -> None:
    environment = EchoEnvironment()
    environment.reset()
    result = environment.step(EchoAction(message="Hello"))
    assert (result.echo, result.length, result.reward) == ("Hello", 5, 0.5)


def test_an_episode_ends() -> None:
    environment = EchoEnvironment()
    environment.reset()
    done = [environment.step(EchoAction(message="")).done for _ in range(EPISODE_STEPS)]
    assert done == [False] * (EPISODE_STEPS - 1) + [True]
    assert environment.state.step_count == EPISODE_STEPS
