"""`GitServerClient`: repositories of a Gitea server, for environments whose agents work on them."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openenv_gym.errors import GitError

_POLL_S = 0.5
_REQUEST_TIMEOUT_S = 10.0
_SHORTEST_TIMEOUT_S = 0.1
_PAGE_SIZE = 50
_USER, _PASSWORD = "OPENENV_GIT_USERNAME", "OPENENV_GIT_PASSWORD"
# A credential helper that prints what is in git's variables, so that no file has the password.
_CREDENTIALS = (
    f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${_USER}" "${_PASSWORD}"; }}; f"""
)


@dataclass
class RepoInfo:
    """A repository.

    Attributes:
        name: Its name.
        url: Its page.
        commit: A commit in it.
        clone_url: Where it is cloned from.
    """

    name: str
    url: str
    commit: str
    clone_url: str


class GitServerClient:
    """Clones repositories of a Gitea server into a workspace, and puts them back into their first state.

    Many environments may share the server; each needs its own workspace. The user's git settings and saved
    passwords are neither used nor changed.

    Args:
        gitea_url: The server's address, ``http://gitea:3000``.
        username: The owner of the repositories.
        password: That user's password or token.
        workspace_dir: The folder for the clones; it is created if it is missing.

    Attributes:
        is_ready: Whether `wait_for_ready` has found the server.

    Raises:
        GitError: git is not installed.

    Example:
        >>> client = GitServerClient("http://gitea:3000", "gitea", os.environ["GITEA_PASSWORD"], "/workspace")
        >>> client.wait_for_ready()
        >>> path = client.clone_to_workspace("my-repo", commit="abc123")
        >>> client.execute_git_command("status", "my-repo")
        >>> client.reset_workspace("my-repo", commit="abc123")
    """

    def __init__(
        self, gitea_url: str, username: str, password: str, workspace_dir: str = "/workspace"
    ) -> None:
        self.gitea_url: str = gitea_url.rstrip("/")
        self.username = username
        self.password = password
        self.workspace_dir: Path = Path(workspace_dir)
        self.is_ready: bool = False
        address = urlsplit(self.gitea_url)
        self.domain: str = address.hostname or "localhost"
        self.port: int = address.port or 3000
        self.workspace_dir.mkdir(parents=True, exist_ok=True)
        self._settings = tempfile.TemporaryDirectory(prefix="openenv-git-")
        file = Path(self._settings.name) / "gitconfig"
        self._variables = {
            "GIT_CONFIG_GLOBAL": str(file),
            "GIT_TERMINAL_PROMPT": "0",
            _USER: username,
            _PASSWORD: password,
        }
        for name, value in {
            "user.name": username,
            "user.email": f"{username}@local.env",
            "init.defaultBranch": "main",
            f"credential.{self.gitea_url}.helper": _CREDENTIALS,
        }.items():
            self._checked("Setting up git", ["config", "--file", str(file), name, value], self.workspace_dir)

    def wait_for_ready(self, timeout: float = 30) -> bool:
        """Wait until the server responds.

        Args:
            timeout: The time for that, in seconds.

        Returns:
            Whether it did.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready:
            left_s = max(deadline - time.monotonic(), _SHORTEST_TIMEOUT_S)
            try:
                _read(f"{self.gitea_url}/", min(left_s, _REQUEST_TIMEOUT_S))
                self.is_ready = True
            except OSError:
                if time.monotonic() + _POLL_S > deadline:
                    break
                time.sleep(_POLL_S)
        return self.is_ready

    def list_repositories(self) -> list[dict[str, str]]:
        """The user's repositories: each has ``name``, ``full_name``, ``clone_url`` and ``description``.

        Raises:
            GitError: The server is not ready, does not respond, or refuses.
        """
        self._check_ready()
        found: list[dict[str, str]] = []
        while True:
            page = self._get(f"/api/v1/user/repos?limit={_PAGE_SIZE}&page={len(found) // _PAGE_SIZE + 1}")
            found += [
                {
                    "name": repository["name"],
                    "full_name": repository["full_name"],
                    "clone_url": repository["clone_url"],
                    "description": repository.get("description") or "",
                }
                for repository in page
            ]
            if len(page) < _PAGE_SIZE:
                return found

    def clone_to_workspace(self, repo_name: str, target_dir: str | None = None, commit: str = "main") -> str:
        """Clone a repository, in place of an earlier clone.

        Args:
            repo_name: Its name.
            target_dir: The folder in the workspace; the repository's name by default.
            commit: A commit, branch or tag to check out. "main" is the server's default branch.

        Returns:
            The path of the clone.

        Raises:
            GitError: The server is not ready, or git fails.
        """
        self._check_ready()
        folder = self._folder(target_dir or repo_name)
        if folder.exists():
            shutil.rmtree(folder)
        url = f"{self.gitea_url}/{self.username}/{repo_name}.git"
        doing = f"Cloning {repo_name} from {self.gitea_url}"
        self._checked(doing, ["clone", "--quiet", "--", url, str(folder)], self.workspace_dir)
        if commit != "main":
            self._check_out(folder, commit)
        return str(folder)

    def reset_workspace(self, repo_name: str, commit: str = "main") -> bool:
        """Put a clone back into the state of a commit.

        All changes, commits and new files in it are discarded. This is faster than another clone.

        Args:
            repo_name: The folder in the workspace.
            commit: A commit, branch or tag; a branch is that of the server.

        Returns:
            True.

        Raises:
            GitError: There is no such folder, or git fails.
        """
        folder = self._clone(repo_name)
        self._git(["fetch", "--quiet", "--all"], folder)  # a server that is away has no newer commits
        self._check_out(folder, commit)
        is_branch = self._git(["rev-parse", "--quiet", "--verify", f"refs/remotes/origin/{commit}"], folder)
        target = f"origin/{commit}" if is_branch.returncode == 0 else commit
        self._checked(f"Resetting {repo_name} to {commit}", ["reset", "--quiet", "--hard", target], folder)
        self._checked(f"Cleaning {repo_name}", ["clean", "--quiet", "-ffdx"], folder)
        return True

    def execute_git_command(self, command: str, working_dir: str = "") -> tuple[int, str, str]:
        """Run a git command.

        Args:
            command: The words after ``git``, quoted as for a shell.
            working_dir: The folder in the workspace to run it in; the workspace by default.

        Returns:
            The exit code, the output and the error output. A folder that does not exist has exit code 1.
        """
        try:
            folder, words = self._folder(working_dir), shlex.split(command)
        except (GitError, ValueError) as error:
            return 1, "", f"{error}"
        if not folder.is_dir():
            return 1, "", f"Working directory does not exist: {folder}"
        done = self._git(words, folder)
        return done.returncode, done.stdout, done.stderr

    def get_current_commit(self, repo_name: str) -> str:
        """The hash of the commit that a clone is at.

        Raises:
            GitError: There is no such folder, or git fails.
        """
        folder = self._clone(repo_name)
        return self._checked(f"Reading the commit of {repo_name}", ["rev-parse", "HEAD"], folder).strip()

    def workspace_exists(self, repo_name: str) -> bool:
        """Whether the workspace has a clone."""
        return self._folder(repo_name).exists()

    def _check_ready(self) -> None:
        if not self.is_ready:
            raise GitError(
                f"The git server at {self.gitea_url} is not ready.", advice="Call wait_for_ready() first."
            )

    def _folder(self, name: str) -> Path:
        """A folder in the workspace."""
        workspace = self.workspace_dir.resolve()
        folder = (workspace / name).resolve()
        if not folder.is_relative_to(workspace):
            raise GitError(f"{name} is not in the workspace {workspace}.")
        return folder

    def _clone(self, repo_name: str) -> Path:
        folder = self._folder(repo_name)
        if not folder.is_dir():
            raise GitError(
                f"The workspace {self.workspace_dir} has no {repo_name}.",
                advice="Clone it with clone_to_workspace().",
            )
        return folder

    def _check_out(self, folder: Path, commit: str) -> None:
        doing = f"Checking out {commit} of {folder.name}"
        self._checked(doing, ["checkout", "--quiet", "--force", commit, "--"], folder)

    def _git(self, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", *words],
                cwd=folder,
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except FileNotFoundError as error:
            raise GitError("The program git is not installed, or not on the PATH.") from error

    def _checked(self, doing: str, words: list[str], folder: Path) -> str:
        done = self._git(words, folder)
        if done.returncode != 0:
            raise GitError(f"{doing}: git failed with exit code {done.returncode}.", log=done.stderr)
        return done.stdout

    def _get(self, path: str) -> Any:
        key = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        request = urllib.request.Request(f"{self.gitea_url}{path}")
        request.add_unredirected_header("Authorization", f"Basic {key}")
        try:
            return json.loads(_read(request, _REQUEST_TIMEOUT_S))
        except (OSError, ValueError) as error:
            raise GitError(
                f"Listing the repositories of {self.username} at {self.gitea_url} failed: {error}."
            ) from error


def _read(request: urllib.request.Request | str, timeout_s: float) -> bytes:
    """The body of a response that is here in time, however slowly its parts come.

    Raises:
        OSError: There is none, or the server refuses.
    """
    body: Future[bytes] = Future()

    def read() -> None:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                body.set_result(response.read())
        except Exception as error:
            body.set_exception(error)

    # urllib's timeout is for each wait alone.
    threading.Thread(target=read, name="openenv-git-server", daemon=True).start()
    try:
        return body.result(timeout_s)
    except TimeoutError as error:
        raise TimeoutError(f"no response within {timeout_s:g} s") from error
