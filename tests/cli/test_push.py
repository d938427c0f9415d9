"""``openenv push`` to Spaces: a process with the real client, and a stand-in for the Hub."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.hub_environment import LARGE, contents, openenv, shown
from tests.support.hub import TOKEN, StandIn


@pytest.mark.integration
def test_a_first_push_makes_the_space_and_fills_it_in_one_commit(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    before = contents(environment)
    done = openenv(hub, tmp_path, "push", str(environment))
    said = shown(done)
    space = hub.state.spaces["ann/my_env"]
    assert said == {
        "space": f"{hub.endpoint}/spaces/ann/my_env",
        "host": "https://ann-my-env.hf.space",
        "commit": space.sha,
        "uploaded": "yes",
        "use": 'gym.make("openenv/remote", base_url="https://ann-my-env.hf.space")',
    }
    assert (space.sdk, space.private, space.hardware) == ("docker", False, "cpu-basic")
    assert [commit.message for commit in space.commits] == ["initial commit", "Push my_env with openenv"]
    unchanged = before.keys() - {"README.md", "server/Dockerfile"}
    assert {path: space.files[path] for path in unchanged} == {path: before[path] for path in unchanged}
    assert set(space.files) == {*unchanged, "README.md", "Dockerfile", ".gitattributes"}
    assert contents(environment) == before, "the author's folder is as it was"


def test_the_card_is_completed_and_the_dockerfile_can_be_built_by_the_hub(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    done = openenv(hub, tmp_path, "push", str(environment))
    files = hub.state.spaces["ann/my_env"].files
    readme = files["README.md"].decode()
    assert readme.endswith("---\n\n# My env\n")
    assert "title: Mine  # kept\n" in readme
    card = yaml.safe_load(readme.split("---\n")[1])
    assert card["sdk"] == "docker"
    assert card["app_port"] == 8000
    assert card["base_path"] == "/web"
    assert card["tags"] == ["openenv"]
    assert {"emoji", "colorFrom", "colorTo"} <= card.keys()
    dockerfile = files["Dockerfile"].decode()
    assert dockerfile.count("FROM openenv-base") == 2
    assert dockerfile.count("FROM ${PYTHON_IMAGE} AS openenv-base\n") == 1
    assert dockerfile.endswith("ENV ENABLE_WEB_INTERFACE=true\n")
    assert "builds openenv-base itself because the Hub has no access to yours" in done.stderr


def test_the_interface_can_be_left_out_and_the_base_image_chosen(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    done = openenv(
        hub, tmp_path, "push", str(environment), "--no-interface", "--base-image", "ghcr.io/o/base:1"
    )
    files = hub.state.spaces["ann/my_env"].files
    assert files["Dockerfile"].decode().count("FROM ghcr.io/o/base:1") == 2
    assert files["Dockerfile"].decode().endswith("ENV ENABLE_WEB_INTERFACE=false\n")
    assert b"base_path" not in files["README.md"]
    assert "openenv-base" not in done.stderr


def test_a_secret_that_only_the_image_leaves_out_is_not_published(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    (environment / "server" / "deploy.pem").write_text("-----BEGIN PRIVATE KEY-----")
    (environment / ".dockerignore").write_text("**/*.pem\n")
    refused = openenv(hub, tmp_path, "push", str(environment))
    assert refused.returncode == 2
    assert "these look like secrets: server/deploy.pem" in refused.stderr
    assert not hub.state.spaces
    shown(openenv(hub, tmp_path, "push", str(environment), "--exclude", "*.pem"))
    assert "server/deploy.pem" not in hub.state.spaces["ann/my_env"].files


def test_a_second_push_without_changes_uploads_nothing(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    first = shown(openenv(hub, tmp_path, "push", str(environment)))
    hub.requests.clear()
    second = shown(openenv(hub, tmp_path, "push", str(environment)))
    assert second == {**first, "uploaded": "nothing"}
    assert not hub.asked("commit")
    assert not hub.asked("PUT")
    assert len(hub.state.spaces["ann/my_env"].commits) == 2


def test_a_changed_file_is_uploaded_alone(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    openenv(hub, tmp_path, "push", str(environment))
    (environment / "models.py").write_text("# other models\n")
    assert shown(openenv(hub, tmp_path, "push", str(environment)))["uploaded"] == "yes"
    assert hub.state.spaces["ann/my_env"].commits[-1].changed == ("models.py",)


def test_a_file_that_was_removed_stays_and_is_named(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    openenv(hub, tmp_path, "push", str(environment))
    (environment / "weights.bin").unlink()
    done = openenv(hub, tmp_path, "push", str(environment))
    assert "ann/my_env still has files that are not in the folder: weights.bin." in done.stderr
    assert "weights.bin" in hub.state.spaces["ann/my_env"].files


def test_settings_are_made_with_the_space(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    hub.state.add_user("hf_rich", "bea", organizations={"my-org"}, can_pay=True)
    arguments = (
        "--repo-id",
        "my-org/my-env",
        "--private",
        "--hardware",
        "t4-small",
        "--env-var",
        "LEVEL=3=x",
    )
    done = openenv(
        hub,
        tmp_path,
        "push",
        str(environment),
        *arguments,
        "--secret",
        "API_KEY",
        token="hf_rich",
        API_KEY="s3cr3t",
    )
    assert shown(done)["host"] == "https://my-org-my-env.hf.space"
    space = hub.state.spaces["my-org/my-env"]
    assert space.private
    assert space.hardware == "t4-small"
    assert space.variables == {"LEVEL": "3=x"}
    assert space.secrets == {"API_KEY": "s3cr3t"}
    assert "s3cr3t" not in done.stdout + done.stderr


def test_settings_of_a_space_that_is_there_are_changed_where_they_differ(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    openenv(hub, tmp_path, "push", str(environment), "--env-var", "A=1", "--env-var", "B=1")
    hub.requests.clear()
    done = openenv(
        hub,
        tmp_path,
        "push",
        str(environment),
        *(
            "--private",
            "--env-var",
            "A=1",
            "--env-var",
            "B=2",
            "--secret",
            "K=v4lue",
            "--hardware",
            "cpu-basic",
        ),
    )
    assert done.returncode == 0, done.stderr
    space = hub.state.spaces["ann/my_env"]
    assert space.private
    assert space.variables == {"A": "1", "B": "2"}
    assert space.secrets == {"K": "v4lue"}
    assert len(hub.asked("POST", "/variables")) == 1
    assert not hub.asked("POST", "/hardware")


def test_a_pull_request_changes_nothing_in_the_space(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    openenv(hub, tmp_path, "push", str(environment))
    before = (environment / "models.py").read_bytes()
    (environment / "models.py").write_text("# proposed\n")
    said = shown(openenv(hub, tmp_path, "push", str(environment), "--create-pr"))
    space = hub.state.spaces["ann/my_env"]
    assert said["pull_request"] == f"{hub.endpoint}/spaces/ann/my_env/discussions/1"
    assert space.pull_requests[0].files == {"models.py": b"# proposed\n"}
    assert space.files["models.py"] == before
    assert len(space.commits) == 2


def test_a_pull_request_needs_a_space(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    done = openenv(hub, tmp_path, "push", str(environment), "--create-pr", "--repo-id", "my-org/none")
    assert done.returncode == 1
    assert "the Space my-org/none does not exist" in done.stderr
    assert not hub.state.spaces


def test_count_pushes_to_numbered_spaces(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    done = openenv(
        hub, tmp_path, "push", "--directory", str(environment), "--repo-id", "many", "--count", "2"
    )
    assert done.returncode == 0, done.stderr
    assert list(hub.state.spaces) == ["ann/many-1", "ann/many-2"]
    assert done.stdout.count("space\t") == 2


def test_what_is_excluded_is_not_uploaded_and_a_gitignore_leaves_out_nothing_of_the_bundle(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    openenv(hub, tmp_path, "push", str(environment), "--exclude", "*.bin")
    space = hub.state.spaces["ann/my_env"]
    assert "weights.bin" not in space.files
    # The Hub itself drops what a .gitignore names, and this one names a file that a bundle may bring.
    space.files[".gitignore"] = b"wheels/\n*.bin\n"
    shown(openenv(hub, tmp_path, "push", str(environment)))
    assert space.files["weights.bin"] == LARGE


def test_exclude_takes_a_file_of_patterns_and_leaves_that_file_out(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    (environment / "media").mkdir()
    (environment / "media" / "run.mp4").write_bytes(b"\0")
    (environment / "notes.txt").write_text("private\n")
    (environment / ".hubignore").write_text("# large\n*.mp4\nnotes.txt\n")
    done = openenv(hub, tmp_path, "push", str(environment), "--exclude", ".hubignore")
    files = hub.state.spaces["ann/my_env"].files
    assert not {".hubignore", "media/run.mp4", "notes.txt"} & files.keys()
    assert {"models.py", "weights.bin"} <= files.keys()
    assert f"Leaving out the patterns in {environment / '.hubignore'}." in done.stderr

    outside = tmp_path / "patterns"
    outside.write_text("weights.bin\n")
    openenv(hub, tmp_path, "push", str(environment), "-r", "other", "--exclude", str(outside))
    files = hub.state.spaces["ann/other"].files
    assert "weights.bin" not in files
    assert "notes.txt" in files


@pytest.mark.parametrize("name", ["notes.txt", "weights.bin"])
def test_exclude_of_a_file_leaves_it_out_whatever_is_in_it(
    hub: StandIn, environment: Path, tmp_path: Path, name: str
) -> None:
    (environment / "notes.txt").write_text("my notes\n")
    openenv(hub, tmp_path, "push", str(environment), "--exclude", name)
    files = hub.state.spaces["ann/my_env"].files
    assert name not in files
    assert "models.py" in files


def test_delete_removes_what_the_folder_no_longer_has_in_the_same_commit(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    for name in ("old/one.txt", "old/two.txt", "kept.txt"):
        (environment / name).parent.mkdir(exist_ok=True)
        (environment / name).write_text("x")
    openenv(hub, tmp_path, "push", str(environment))
    for name in ("old/one.txt", "old/two.txt", "kept.txt"):
        (environment / name).unlink()
    space = hub.state.spaces["ann/my_env"]
    commits = len(space.commits)
    done = openenv(hub, tmp_path, "push", str(environment), "--delete", "old/*", "--delete", "models.py")
    assert shown(done)["uploaded"] == "yes"
    assert len(space.commits) == commits + 1
    assert space.commits[-1].changed == ("old/one.txt", "old/two.txt")
    assert {"kept.txt", "models.py", ".gitattributes"} <= space.files.keys()
    assert "still has files that are not in the folder: kept.txt. Delete them with --delete" in done.stderr

    openenv(hub, tmp_path, "push", str(environment), "--delete", "*")
    assert "kept.txt" not in space.files
    assert {"models.py", ".gitattributes"} <= space.files.keys()


def test_the_short_options_mean_the_same_as_the_long_ones(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    done = openenv(
        hub, tmp_path, "push", str(environment), "-r", "short", "-b", "ghcr.io/o/base:1", "-n", "2",
        "-e", "LEVEL=3", "-s", "KEY=s3cr3t", "-H", "cpu-basic",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number in (1, 2):
        space = hub.state.spaces[f"ann/short-{number}"]
        assert (space.variables, space.secrets) == ({"LEVEL": "3"}, {"KEY": "s3cr3t"})
        assert b"FROM ghcr.io/o/base:1" in space.files["Dockerfile"]


def test_large_files_arrive_in_parts(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    hub.state.part_size = 40_000
    shown(openenv(hub, tmp_path, "push", str(environment)))
    assert hub.state.spaces["ann/my_env"].files["weights.bin"] == LARGE
    assert len(hub.asked("PUT", hashlib.sha256(LARGE).hexdigest(), "/parts/")) == 3


@pytest.mark.integration
def test_what_was_pushed_can_be_downloaded(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    openenv(hub, tmp_path, "push", str(environment))
    code = (
        "import huggingface_hub as h;"
        "print(h.snapshot_download('ann/my_env', repo_type='space', local_dir='there'), end='')"
    )
    env = {**os.environ, **hub.variables(tmp_path)}
    downloaded = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    there = {
        path: content
        for path, content in contents(Path(downloaded.stdout)).items()
        if not path.startswith(".cache/")
    }
    assert there == hub.state.spaces["ann/my_env"].files


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--registry", "ghcr.io/o", "--private"], "--registry cannot be combined with --private"),
        (["--registry", "ghcr.io/o", "--secret", "A=b", "--count", "2"], "--secret and --count"),
        (["--create-pr", "--hardware", "t4-small"], "a pull request changes files only"),
        (["--tag", "a:b"], "--tag requires --registry"),
        (["--secret", "NOT_SET_ANYWHERE"], "the variable NOT_SET_ANYWHERE is not set"),
        (["--secret", "A=hidden", "--env-var", "A=b"], "Choose one"),
        (["--repo-id", "a/b/c"], "cannot be a Space: write OWNER/NAME"),
        (["--directory", "."], "not both"),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_is_done(
    hub: StandIn, environment: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = openenv(hub, tmp_path, "push", str(environment), *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hidden" not in done.stderr
    assert not hub.state.spaces


def test_a_folder_without_an_environment_is_refused(hub: StandIn, tmp_path: Path) -> None:
    done = openenv(hub, tmp_path, "push", str(tmp_path))
    assert done.returncode == 2
    assert "has neither openenv.yaml nor server/app.py" in done.stderr
    assert not hub.requests


def test_of_two_dockerfiles_the_one_that_is_built_here_is_pushed(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    (environment / "Dockerfile").write_text("FROM other\n")
    done = openenv(hub, tmp_path, "push", str(environment))
    files = hub.state.spaces["ann/my_env"].files
    assert b"uvicorn server.app:app" in files["Dockerfile"]
    assert "server/Dockerfile" not in files
    assert "The folder has two Dockerfiles" in done.stderr


def test_what_the_gitignore_names_is_not_uploaded(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    (environment / ".gitignore").write_text("*.bin\nsecrets.txt\n")
    (environment / "secrets.txt").write_text("hidden")
    (environment / ".env").write_text("KEY=hidden")
    shown(openenv(hub, tmp_path, "push", str(environment)))
    assert not {"weights.bin", "secrets.txt", ".env"} & hub.state.spaces["ann/my_env"].files.keys()


def test_an_environment_without_a_dockerfile_is_refused_before_a_space_is_made(
    hub: StandIn, environment: Path, tmp_path: Path
) -> None:
    (environment / "server" / "Dockerfile").unlink()
    done = openenv(hub, tmp_path, "push", str(environment))
    assert done.returncode == 2
    assert "neither server/Dockerfile nor Dockerfile" in done.stderr
    assert not hub.state.spaces


def test_a_terminal_asks_for_a_token_and_keeps_it(hub: StandIn, environment: Path, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "openenv_cli", "push", str(environment)],
        env={**os.environ, **hub.variables(tmp_path, None), "TERM": "xterm"},
        timeout=60,
        dimensions=(40, 100),
        encoding="utf-8",
    )
    child.expect("How would you like to log in")
    child.send("\x1b[B\r")  # the second: paste a token
    child.expect("Enter your token")
    child.sendline(TOKEN)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "gym.make(" in child.before
    assert TOKEN not in child.before
    assert (tmp_path / "token").read_text() == TOKEN
    assert "ann/my_env" in hub.state.spaces
