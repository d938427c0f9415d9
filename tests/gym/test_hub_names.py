from __future__ import annotations

import pytest

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.hub_spaces import space_host, space_id


@pytest.mark.parametrize(
    ("repo_id", "host"),
    [
        ("my-org/my-env", "https://my-org-my-env.hf.space"),
        ("My_Org/My.Env_2", "https://my-org-my-env-2.hf.space"),
        ("a/b_.c", "https://a-b-c.hf.space"),
        ("https://huggingface.co/spaces/my-org/my-env/tree/main", "https://my-org-my-env.hf.space"),
    ],
)
def test_a_space_has_a_host_of_its_own(repo_id: str, host: str) -> None:
    assert space_host(repo_id) == host


def test_a_page_names_its_space() -> None:
    assert space_id("https://huggingface.co/spaces/my-org/my_env?logs=build") == "my-org/my_env"


@pytest.mark.parametrize(
    "text", ["", "env", "a/b/c", "a/-b", "a/b--c", "a/b.git", "a/é", "a b/c", f"a/{'b' * 97}"]
)
def test_what_is_no_space_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="OWNER/NAME"):
        space_id(text)


def test_a_host_that_the_hub_shortens_is_to_be_looked_up() -> None:
    with pytest.raises(ConfigurationError, match="more than 63 characters"):
        space_host(f"my-org/{'long-name-' * 6}env")
