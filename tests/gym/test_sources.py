"""Sources of `gym.make`, and its unknown keywords."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import openenv_gym
from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.sources import SOURCES

DOCS = Path(__file__).parents[2] / "docs"
SERVED = [{"gym": "CartPole-v1"}, {"app": "tests.providers.served:app"}]


@pytest.mark.parametrize("keyword", [keyword for keyword in SOURCES if keyword != "base_url"])
def test_each_source_is_documented(keyword: str) -> None:
    for page in ("names.md", "providers.md"):
        assert f"`{keyword}=" in (DOCS / page).read_text(encoding="utf-8"), page
    for documented in (RemoteEnv, RemoteVectorEnv, openenv_gym.register):
        assert f"``{keyword}``" in (documented.__doc__ or ""), documented


@pytest.mark.parametrize("source", SERVED, ids=str)
def test_an_id_and_an_import_path_are_served_while_the_environment_is_open(source: dict[str, str]) -> None:
    env = gym.make("openenv/remote", **source)
    assert env.reset(seed=1)[0] in env.observation_space
    env.close()


@pytest.mark.parametrize("source", SERVED, ids=str)
def test_replicas_of_an_id_and_of_an_import_path_share_the_slots(source: dict[str, Any]) -> None:
    envs: Any = gym.make_vec("openenv/remote", 4, replicas=2, **source)
    assert len(envs.unwrapped._servers.endpoints) == 2
    assert envs.reset(seed=1)[0] in envs.observation_space
    envs.close()


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_a_provider_of_the_users_starts_the_server(make: Callable[..., Any]) -> None:
    made: list[ProcessProvider] = []

    def provider(**keywords: Any) -> ProcessProvider:
        made.append(ProcessProvider(**keywords))
        return made[-1]

    env = make("openenv/remote", gym="CartPole-v1", provider=provider)
    assert env.reset(seed=1)[0] in env.observation_space
    assert len(made) == 1
    env.close()
    assert made[0].endpoints == ()


@pytest.mark.integration
def test_a_name_may_stand_for_a_gymnasium_id() -> None:
    openenv_gym.register("lake", gym="FrozenLake-v1")
    try:
        env = gym.make("openenv/lake", provider_options={"gym_kwargs": {"is_slippery": False}})
        env.reset(seed=1)
        assert env.step(2)[0] == 1
        env.close()
    finally:
        gym.registry.pop("openenv/lake")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        (
            {"pth": "./x"},
            r"got an unexpected keyword argument 'pth'\. Did you mean path=\? "
            ".*base_url=, path=, gym=, app=, image=, space=",
        ),
        (
            {"base_url": "http://127.0.0.1:9", "step_timeout": 3},
            "got an unexpected keyword argument 'step_timeout'. Did you mean step_timeout_s=",
        ),
        ({"app": "my_env.app"}, "module:attribute"),
        ({"gym": "CartPole-v1", "path": "./my_env"}, "has path and gym; keep one of them"),
    ],
    ids=str,
)
def test_unknown_keywords_and_malformed_sources_are_refused(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        gym.make("openenv/remote", **keywords)
    with pytest.raises(ConfigurationError, match=said):
        gym.make_vec("openenv/remote", 2, **keywords)


@pytest.mark.integration
@pytest.mark.parametrize("make", [gym.make, gym.make_vec, openenv_gym.RemoteEnv, openenv_gym.RemoteVectorEnv])
@pytest.mark.parametrize("keyword", ["frameskip", "render", "num_env"])
def test_an_unknown_keyword_is_a_type_error_in_pythons_words(make: Any, keyword: str) -> None:
    def build(base_url: str) -> None: ...

    arguments = ("openenv/remote",) if make in (gym.make, gym.make_vec) else ()
    keywords = {"base_url": "http://127.0.0.1:9", keyword: 4}
    with pytest.raises(TypeError) as pythons:
        build(**keywords)  # type: ignore[arg-type]
    words = str(pythons.value).partition("() ")[2]
    with pytest.raises(TypeError, match=words) as raised:
        make(*arguments, **keywords)
    assert isinstance(raised.value, ConfigurationError)


@pytest.mark.integration
@pytest.mark.parametrize("keywords", [{"replicas": 3}, {"copy": False}], ids=str)
def test_keywords_of_vector_environments_are_refused_for_one(
    keywords: dict[str, Any], tmp_path: Path
) -> None:
    (name,) = keywords
    with pytest.raises(ConfigurationError, match=f"Only gym.make_vec takes {name}="):
        gym.make("openenv/remote", path=tmp_path, **keywords)
