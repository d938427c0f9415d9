"""``provider_options=``: unknown and malformed options are refused before anything is started."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.docker import DockerProvider
from openenv_gym.providers.hub import HubProvider
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.provider import Provider

LOCAL = {"mode": "local", "trust_remote_code": True}


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        (
            {"gym": "CartPole-v1", "provider_options": {"wokers": 2}},
            r"mean 'workers'\? The options of gym= are gym_kwargs, wrappers, vectorized, max_sessions, wor",
        ),
        ({"image": "any", "provider_options": {"workers": 2}}, r"The options of image= are env_vars, port"),
        (
            {"space": "a/b", "provider_options": {"memory": "2g"}},
            'mode="docker" or "local" starts a server here',
        ),
        (
            {"space": "a/b", "provider_options": {**LOCAL, "wokers": 2}},
            r"mean 'workers'\?.* are mode, token",
        ),
        ({"gym": "CartPole-v1", "provider_options": {"replicas": 2}}, r"pass replicas= beside it"),
        ({"gym": "CartPole-v1", "provider_options": {"api_key": "secret"}}, r"pass api_key= beside it"),
    ],
    ids=["gym", "image", "space", "space here", "replicas", "api_key"],
)
def test_unknown_options_are_refused_with_the_known_ones(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        gym.make("openenv/remote", **keywords)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"image": "any", "provider_options": {"memory": "2 gigs"}}, "memory= must be .* got '2 gigs'"),
        ({"image": "any", "provider_options": {"cpus": "two"}}, "cpus= must be .* got 'two'"),
        ({"image": "any", "provider_options": {"port": "http"}}, "port= must be .* got 'http'"),
        ({"image": "any", "provider_options": {"env_vars": ["A=b"]}}, "env_vars= must be a dict, got a list"),
        (
            {"image": "any", "provider_options": {"volumes": "/tmp:/data"}},
            "volumes= must be a dict, got a str",
        ),
        ({"gym": "CartPole-v1", "provider_options": {"workers": "2"}}, "workers= must be .* got '2'"),
        (
            {"gym": "CartPole-v1", "provider_options": {"max_sessions": 0}},
            "max_sessions= must be .* got 0",
        ),
    ],
    ids=["memory", "cpus", "port", "env_vars", "volumes", "workers", "max_sessions"],
)
def test_malformed_options_are_refused(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        gym.make("openenv/remote", **keywords)


@pytest.mark.parametrize("memory", ["512m", "2g", "1.5GB", "1073741824", 2**30])
def test_memory_takes_the_notation_of_docker(memory: str) -> None:
    DockerProvider("any", memory=memory)


def test_the_docs_list_all_options() -> None:
    pytest.importorskip("ray")
    from openenv_gym.providers.ray import RayProvider

    text = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
    kinds: tuple[type[Provider], ...] = (ProcessProvider, DockerProvider, HubProvider, RayProvider)
    not_options = {"gym", "app", "replicas", "api_key"}
    for kind in kinds:
        (row,) = re.findall(rf"^\| `{kind.__name__}` \|(.*)$", text, re.MULTILINE)
        options = {
            name
            for name, parameter in signature(kind).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        assert options - not_options == set(re.findall(r"`(\w+)`", row)) - {
            "ProcessProvider",
            "DockerProvider",
        }
