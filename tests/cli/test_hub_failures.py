"""What goes wrong on the Hub: what is said, what is left behind, and what is tried again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.hub_environment import LARGE, openenv, shown
from tests.support.hub import TOKEN, StandIn
from tests.support.hub.faults import Fault


@pytest.mark.parametrize(
    ("fault", "happened", "next_step"),
    [
        (Fault("GET /api/whoami", 401), "does not accept the token (401: on purpose)", "`hf auth login`"),
        (Fault("POST /api/repos/create", 402), "requires a payment method (402", "Omit --hardware"),
        (
            Fault("POST /api/repos/create", 403),
            "the token lacks permission (403",
            "member of that organization",
        ),
        (Fault("POST /api/repos/create", 409), "the name is taken", "--repo-id"),
        (Fault("POST /api/repos/create", 429), "too many requests (429", "Try again in a few minutes"),
        (Fault("POST /api/repos/create", 503), "the Hub failed (503", "https://status.huggingface.co"),
        (Fault("POST /api/repos/create"), "the connection to the Hub failed", "HF_ENDPOINT"),
        (Fault("POST .*/commit/", 413), "too large for the Hub (413", "--exclude"),
        (Fault("POST .*/commit/", 422), "request as invalid (422: on purpose)", "Fix what it names"),
    ],
    ids=lambda value: f"{value.request} {value.status}" if isinstance(value, Fault) else "",
)
def test_a_failure_says_what_happened_where_and_what_to_do_next(
    hub: StandIn, environment: Path, tmp_path: Path, fault: Fault, happened: str, next_step: str
) -> None:
    fault.times = 9
    hub.faults.append(fault)
    done = openenv(hub, tmp_path, "push", str(environment))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    told = " ".join(done.stderr.split())
    for words in (happened, next_step, hub.endpoint):
        assert words in told


def test_hardware_that_costs_money_creates_no_space(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    done = openenv(hub, tmp_path, "push", str(environment), "--hardware", "t4-small")
    assert done.returncode == 1
    assert "402: Please add a payment method" in done.stderr
    assert not hub.state.spaces


def test_a_strange_organization_and_a_wrong_token_are_refused(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    strange = openenv(hub, tmp_path, "push", str(environment), "--repo-id", "google/env")
    assert strange.returncode == 1
    assert "Creating the Space google/env" in strange.stderr
    assert "403" in strange.stderr
    wrong = openenv(hub, tmp_path, "push", str(environment), token="hf_wrong_one")
    assert wrong.returncode == 1
    assert "does not accept the token" in wrong.stderr
    assert "hf_wrong_one" not in wrong.stderr


@pytest.mark.integration
def test_without_a_token_a_pipe_is_told_how_to_get_one(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    done = openenv(hub, tmp_path, "push", str(environment), token=None)
    assert done.returncode == 1
    assert "HF_TOKEN" in done.stderr
    assert "`hf auth login`" in done.stderr
    assert not hub.requests


def test_a_card_that_the_hub_rejects_is_reported(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    (environment / "README.md").write_text("---\ncolorFrom: ultraviolet\n---\n")
    done = openenv(hub, tmp_path, "push", str(environment))
    assert done.returncode == 1
    assert '"colorFrom" must be one of' in done.stderr


def test_offline_mode_is_reported(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    done = openenv(hub, tmp_path, "push", str(environment), HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "unset HF_HUB_OFFLINE" in done.stderr


def test_an_unreachable_hub_is_reported(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    done = openenv(hub, tmp_path, "push", str(environment), HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "the connection to the Hub failed" in done.stderr


def test_without_the_client_the_extra_is_named(environment: Path) -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = None;"
        f"sys.argv = ['openenv', 'push', {str(environment)!r}];"
        "from openenv_cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'openenv-gym[hub]'" in done.stderr


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault("POST .*/commit/", when="after"))
    said = shown(openenv(hub, tmp_path, "push", str(environment)))
    space = hub.state.spaces["ann/my_env"]
    assert [commit.message for commit in space.commits] == ["initial commit", "Push my_env with openenv"]
    assert said["commit"] == space.sha
    assert said["uploaded"] == "yes"
    assert len(hub.asked("POST", "/commit/")) == 1
    assert len(hub.asked("PUT", "/store/")) == 1


@pytest.mark.parametrize("fault", [Fault("POST .*/commit/", 502), Fault("POST .*/commit/", when="middle")])
def test_a_commit_that_fails_for_a_moment_is_tried_again(
    hub: StandIn, environment: Path, tmp_path: Path, fault: Fault
) -> None:
    hub.faults.append(fault)
    assert shown(openenv(hub, tmp_path, "push", str(environment)))["uploaded"] == "yes"
    assert len(hub.state.spaces["ann/my_env"].commits) == 2
    assert len(hub.asked("PUT", "/store/")) == 1


def test_a_connection_that_breaks_in_mid_upload_is_made_again(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault("PUT /store/", when="middle"))
    shown(openenv(hub, tmp_path, "push", str(environment)))
    assert hub.state.spaces["ann/my_env"].files["weights.bin"] == LARGE


def test_after_a_push_that_failed_the_next_sends_only_what_is_missing(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault("POST .*/commit/", 503, times=3))
    failed = openenv(hub, tmp_path, "push", str(environment))
    assert failed.returncode == 1
    assert "Uploading to ann/my_env" in failed.stderr
    assert "the Hub failed (503" in failed.stderr
    space = hub.state.spaces["ann/my_env"]
    assert set(space.files) == {".gitattributes"}, "all in one commit, or nothing"
    hub.requests.clear()
    shown(openenv(hub, tmp_path, "push", str(environment)))
    assert space.files["weights.bin"] == LARGE
    assert not hub.asked("PUT", "/store/"), "the large file had arrived"
    assert len(space.commits) == 2


def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    openenv(hub, tmp_path, "push", str(environment))
    (environment / "models.py").write_text("# proposed\n")
    hub.faults.append(Fault("POST .*/commit/", when="after"))
    done = openenv(hub, tmp_path, "push", str(environment), "--create-pr")
    assert done.returncode == 1
    assert f"check {hub.endpoint}/spaces/ann/my_env/discussions first" in " ".join(done.stderr.split())
    assert len(hub.state.spaces["ann/my_env"].pull_requests) == 1


@pytest.mark.parametrize("debug", [{}, {"HF_DEBUG": "1", "OPENENV_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}])
def test_no_output_has_a_secret_even_where_the_hub_repeats_it(
    hub: StandIn, environment: Path, tmp_path: Path, debug: dict[str, str]
) -> None:
    openenv(hub, tmp_path, "push", str(environment))
    hub.faults.append(Fault("POST .*/secrets", 422, message=f"s3cr3t is no value, says {TOKEN}"))
    arguments = ("push", str(environment), "--secret", "KEY=s3cr3t")
    failed = openenv(hub, tmp_path, *arguments, **debug)
    assert failed.returncode == 1
    assert "Setting the secret KEY of ann/my_env" in failed.stderr
    assert "*** is no value, says ***" in failed.stderr
    done = openenv(hub, tmp_path, *arguments, **debug)
    assert done.returncode == 0
    for output in (failed, done):
        assert "s3cr3t" not in output.stdout + output.stderr
        assert TOKEN not in output.stdout + output.stderr
    assert hub.state.spaces["ann/my_env"].secrets == {"KEY": "s3cr3t"}


@pytest.mark.slow
def test_a_connection_that_stays_broken_ends_the_push(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault("PUT /store/", when="middle", times=100))
    done = openenv(hub, tmp_path, "push", str(environment))
    assert done.returncode == 1
    assert "the connection to the Hub failed" in done.stderr
    assert set(hub.state.spaces["ann/my_env"].files) == {".gitattributes"}
