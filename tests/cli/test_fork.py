"""``openenv fork``: a process with the real client, and a stand-in for the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.hub_environment import openenv, shown
from tests.support.hub import StandIn
from tests.support.hub.faults import Fault


@pytest.fixture
def their_space(hub: StandIn) -> str:
    """A Space of somebody else."""
    hub.state.add_user("hf_other", "zoe")
    zoe = hub.state.user("hf_other")
    space = hub.state.create("zoe/echo_env", zoe, {"sdk": "docker"})
    space.files["openenv.yaml"] = b"name: echo_env\n"
    space.variables["LEVEL"] = "1"
    space.secrets["KEY"] = "hers"
    return space.id


def test_a_fork_is_ones_own_copy_with_its_own_settings(
    hub: StandIn, their_space: str, tmp_path: Path
) -> None:
    done = openenv(
        hub, tmp_path, "fork", their_space, "--private", "--env-var", "LEVEL=2", "--secret", "MINE=s3cr3t"
    )
    assert shown(done) == {
        "space": f"{hub.endpoint}/spaces/ann/echo_env",
        "host": "https://ann-echo-env.hf.space",
        "use": 'gym.make("openenv/remote", base_url="https://ann-echo-env.hf.space")',
    }
    space = hub.state.spaces["ann/echo_env"]
    assert space.files == hub.state.spaces[their_space].files
    assert space.private
    assert space.variables == {"LEVEL": "2"}
    assert space.secrets == {"MINE": "s3cr3t"}
    assert "s3cr3t" not in done.stdout + done.stderr


def test_the_published_names_of_the_options_mean_the_same(
    hub: StandIn, their_space: str, tmp_path: Path
) -> None:
    done = openenv(
        hub, tmp_path, "fork", their_space, "-r", "mine", "--set-env", "LEVEL=2", "-e", "MODE=fast",
        "--set-secret", "MINE=s3cr3t", "-s", "OTHER=0ther", "-H", "cpu-basic",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    space = hub.state.spaces["ann/mine"]
    assert space.variables == {"LEVEL": "2", "MODE": "fast"}
    assert space.secrets == {"MINE": "s3cr3t", "OTHER": "0ther"}


def test_the_address_of_a_page_does_as_well_and_the_copy_can_have_another_name(
    hub: StandIn, their_space: str, tmp_path: Path
) -> None:
    page = f"{hub.endpoint}/spaces/{their_space}/tree/main"
    shown(openenv(hub, tmp_path, "fork", page, "--repo-id", "my-org/my-echo"))
    assert "my-org/my-echo" in hub.state.spaces


def test_a_space_that_is_not_there_or_holds_no_environment_is_refused(
    hub: StandIn, their_space: str, tmp_path: Path
) -> None:
    missing = openenv(hub, tmp_path, "fork", "zoe/other")
    assert missing.returncode == 1
    assert "The Space zoe/other does not exist" in missing.stderr
    hub.state.spaces[their_space].sdk = "gradio"
    other_kind = openenv(hub, tmp_path, "fork", their_space)
    assert other_kind.returncode == 1
    assert "its SDK is gradio, not docker" in other_kind.stderr
    assert list(hub.state.spaces) == [their_space]


def test_a_name_that_is_taken_is_refused_with_what_to_type(
    hub: StandIn, their_space: str, tmp_path: Path
) -> None:
    shown(openenv(hub, tmp_path, "fork", their_space))
    again = openenv(hub, tmp_path, "fork", their_space)
    assert again.returncode == 1
    assert "the name is taken" in again.stderr
    assert "--repo-id" in again.stderr


@pytest.mark.integration
def test_a_fork_is_asked_for_once(hub: StandIn, their_space: str, tmp_path: Path) -> None:
    hub.faults.append(Fault("POST .*/duplicate", when="after"))
    done = openenv(hub, tmp_path, "fork", their_space)
    assert done.returncode == 1
    assert f"The copy may exist anyway: check {hub.endpoint}/spaces/ann/echo_env first" in done.stderr
    assert len(hub.asked("/duplicate")) == 1
