"""`GitServerClient` with real repositories, over HTTP with a password."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openenv.core.tools import GitServerClient, RepoInfo
from openenv.core.tools.git_server_client import GitServerClient as SameClient
from openenv_gym.errors import GitError
from tests.support.git_server import PASSWORD, USER, git, serving_repositories


@pytest.fixture
def commits() -> dict[str, str]:
    """The commits of the repository ``tasks``, by the text of its file in them."""
    return {}


@pytest.fixture
def url(tmp_path: Path, commits: dict[str, str]) -> Iterator[str]:
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    for text in ("one", "two"):
        (source / "file.txt").write_text(text)
        git(source, "add", ".")
        git(source, "commit", "-qm", text)
        commits[text] = git(source, "rev-parse", "HEAD")
    git(source, "checkout", "-q", "-b", "other")
    (source / "file.txt").write_text("three")
    git(source, "commit", "-qam", "three")
    git(source, "checkout", "-q", "main")
    root = tmp_path / "served"
    for name in ("tasks", "empty"):
        git(tmp_path, "clone", "-q", "--bare", str(source), str(root / USER / f"{name}.git"))
    with serving_repositories(root) as url:
        yield url


@pytest.fixture
def client(url: str, tmp_path: Path) -> GitServerClient:
    client = GitServerClient(f"{url}/", USER, PASSWORD, str(tmp_path / "work" / "space"))
    assert client.wait_for_ready(timeout=5)
    return client


def text_in(client: GitServerClient, name: str = "tasks") -> str:
    return (client.workspace_dir / name / "file.txt").read_text()


def test_repositories_are_listed_page_by_page(client: GitServerClient, tmp_path: Path) -> None:
    assert SameClient is GitServerClient
    described = {"name": "tasks", "full_name": "gitea/tasks", "clone_url": "…/tasks.git", "description": ""}
    assert client.list_repositories()[1] == described
    for number in range(60):
        (tmp_path / "served" / USER / f"more-{number}.git").mkdir()
    assert len(client.list_repositories()) == 62


def test_a_clone_is_at_its_commit(client: GitServerClient, commits: dict[str, str]) -> None:
    assert not client.workspace_exists("tasks")
    path = client.clone_to_workspace("tasks")
    assert Path(path) == (client.workspace_dir / "tasks").resolve()
    assert (client.get_current_commit("tasks"), text_in(client)) == (commits["two"], "two")
    client.clone_to_workspace("tasks", "elsewhere", commits["one"])
    assert (client.get_current_commit("elsewhere"), text_in(client, "elsewhere")) == (commits["one"], "one")
    client.clone_to_workspace("tasks", commit="other")  # in place of the first one
    assert text_in(client) == "three"
    assert client.workspace_exists("tasks")


@pytest.mark.parametrize(("commit", "text"), [("main", "two"), ("one", "one"), ("other", "three")])
def test_a_reset_discards_changes_commits_and_new_files(
    client: GitServerClient, commits: dict[str, str], commit: str, text: str
) -> None:
    folder = Path(client.clone_to_workspace("tasks"))
    (folder / "file.txt").write_text("an agent's commit")
    assert client.execute_git_command("commit -am 'an agent'", "tasks")[0] == 0
    (folder / "file.txt").write_text("an agent's change")
    (folder / "new").mkdir()
    git(folder / "new", "init", "-q")
    assert client.reset_workspace("tasks", commits.get(commit, commit)) is True
    assert text_in(client) == text
    assert client.execute_git_command("status --porcelain", "tasks") == (0, "", "")
    assert not (folder / "new").exists()


def test_git_commands_run_in_the_workspace_as_the_user(client: GitServerClient) -> None:
    client.clone_to_workspace("tasks")
    code, out, _ = client.execute_git_command("log -1 --format='%s of %an'", "tasks")
    assert (code, out) == (0, "two of a\n")
    assert client.execute_git_command("config user.name", "tasks")[1] == "gitea\n"
    assert client.execute_git_command("push -q origin HEAD:refs/heads/pushed", "tasks") == (0, "", "")
    assert "refs/heads/pushed" in client.execute_git_command("ls-remote origin", "tasks")[1]
    assert client.execute_git_command("nonsense", "tasks")[0] == 1
    assert client.execute_git_command("status", "gone")[0] == 1
    assert client.execute_git_command("log 'unclosed", "tasks")[0] == 1
    assert client.execute_git_command("status", "../..")[0] == 1


def test_settings_of_the_user_are_neither_used_nor_changed(
    client: GitServerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[user]\nname = someone else\n")
    client.clone_to_workspace("tasks")
    client.execute_git_command("config --global core.editor vi", "tasks")
    assert client.execute_git_command("config user.name", "tasks")[1] == "gitea\n"
    assert (tmp_path / ".gitconfig").read_text() == "[user]\nname = someone else\n"
    files = [path for path in Path(client._settings.name).rglob("*") if path.is_file()]
    assert files
    assert not any(PASSWORD in path.read_text() for path in files)


def test_what_fails_is_a_runtime_error_that_says_what(client: GitServerClient) -> None:
    client.clone_to_workspace("tasks")
    for call, message in (
        (lambda: client.clone_to_workspace("gone"), "Cloning gone from http"),
        (lambda: client.clone_to_workspace("tasks", commit="nowhere"), "Checking out nowhere of tasks"),
        (lambda: client.reset_workspace("tasks", "nowhere"), "Checking out nowhere of tasks"),
        (lambda: client.reset_workspace("gone"), "has no gone"),
        (lambda: client.get_current_commit("gone"), "has no gone"),
        (lambda: client.clone_to_workspace("tasks", "../outside"), "is not in the workspace"),
    ):
        with pytest.raises(RuntimeError, match=message) as raised:
            call()
        assert isinstance(raised.value, GitError)


def test_a_wrong_password_is_refused(url: str, tmp_path: Path) -> None:
    client = GitServerClient(url, USER, "wrong", str(tmp_path / "work"))
    assert client.wait_for_ready()
    with pytest.raises(RuntimeError, match="401"):
        client.list_repositories()
    with pytest.raises(RuntimeError, match="Cloning tasks"):
        client.clone_to_workspace("tasks")


def test_a_server_that_is_away_is_not_ready(tmp_path: Path) -> None:
    client = GitServerClient("http://127.0.0.1:9", USER, PASSWORD, str(tmp_path))
    begin = time.monotonic()
    assert client.wait_for_ready(timeout=1) is False
    assert time.monotonic() - begin < 3
    with pytest.raises(RuntimeError, match="is not ready"):
        client.list_repositories()
    assert (client.domain, client.port) == ("127.0.0.1", 9)


def test_the_facts_of_a_repository_are_compared_by_value() -> None:
    assert RepoInfo("a", "b", "c", "d") == RepoInfo(name="a", url="b", commit="c", clone_url="d")
