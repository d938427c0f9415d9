"""What the stand-in keeps: users, Spaces with their files and settings, and large files."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Any

import yaml
from pathspec import GitIgnoreSpec

GIT_ATTRIBUTES = b"*.zip filter=lfs diff=lfs merge=lfs -text\n"
_FREE = "cpu-basic"
_LARGE = 10 * 2**20


class Refusal(Exception):
    """An answer with an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.message, self.code = status, message, code
        super().__init__(message)


@dataclass
class User:
    name: str
    organizations: set[str]
    may_write: bool
    can_pay: bool


@dataclass
class Commit:
    sha: str
    message: str
    changed: tuple[str, ...]


@dataclass
class PullRequest:
    number: int
    title: str
    files: dict[str, bytes]


@dataclass
class Space:
    id: str
    sdk: str
    private: bool = False
    hardware: str = _FREE
    files: dict[str, bytes] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    pull_requests: list[PullRequest] = field(default_factory=list)
    host: str | None = None  # where its server is; None for where the Hub would have it
    stages: list[str] = field(
        default_factory=lambda: ["BUILDING"]
    )  # one for each question; the last one stays
    app_port: int | None = None
    tags: tuple[str, ...] = ()
    likes: int = 0
    card: dict[str, str] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return self.commits[-1].sha


def is_large(size: int, sample: bytes) -> bool:
    """Whether the Hub keeps a file outside of git: large ones, and those that are not text."""
    return size > _LARGE or b"\0" in sample


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubState:
    """All that the stand-in knows."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spaces: dict[str, Space] = {}
        self.large_files: dict[str, bytes] = {}
        self.part_size = 5 * 2**20  # larger files come in parts of so many bytes
        self.page_size = 20
        self._users: dict[str, User] = {}
        self._shas = (hashlib.sha1(str(number).encode()).hexdigest() for number in itertools.count())

    def add_user(
        self,
        token: str,
        name: str,
        *,
        organizations: set[str] = frozenset(),  # type: ignore[assignment]
        may_write: bool = True,
        can_pay: bool = False,
    ) -> None:
        self._users[token] = User(name, set(organizations), may_write, can_pay)

    def user(self, token: str) -> User:
        if token not in self._users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self._users[token]

    def space(self, repo_id: str, user: User) -> Space:
        space = self.spaces.get(repo_id)
        owner = repo_id.partition("/")[0]
        if space is None or (space.private and owner not in {user.name, *user.organizations}):
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return space

    def own_space(self, repo_id: str, user: User) -> Space:
        space = self.space(repo_id, user)
        self._check_owner(repo_id, user)
        return space

    def create(self, repo_id: str, user: User, settings: dict[str, Any]) -> Space:
        self._check_owner(repo_id, user)
        if repo_id in self.spaces:
            raise Refusal(409, "You already created this space repo")
        hardware = settings.get("hardware", _FREE)
        self._check_payment(hardware, user)
        space = self.spaces[repo_id] = Space(
            repo_id,
            settings["sdk"],
            _is_private(settings),
            hardware,
            {".gitattributes": GIT_ATTRIBUTES},
            _pairs(settings.get("variables")),
            _pairs(settings.get("secrets")),
        )
        self._commit(space, "initial commit", (".gitattributes",))
        return space

    def duplicate(self, source_id: str, user: User, settings: dict[str, Any]) -> Space:
        source = self.space(source_id, user)
        target = self.create(settings["repository"], user, {**settings, "sdk": source.sdk})
        target.files = dict(source.files)
        target.variables = {**source.variables, **target.variables}
        if "private" not in settings and "visibility" not in settings:
            target.private = source.private
        return target

    def change(self, space: Space, user: User, *, hardware: str | None = None, **settings: Any) -> None:
        if hardware is not None:
            self._check_payment(hardware, user)
            space.hardware = hardware
        if settings:
            space.private = _is_private(settings)

    def modes(
        self, space: Space, files: list[dict[str, Any]], git_ignore: str | None
    ) -> list[dict[str, Any]]:
        """How each file has to be uploaded, and which version the Space has."""
        hosted = space.files.get(".gitignore", b"").decode()
        ignored = GitIgnoreSpec.from_lines((git_ignore or hosted).splitlines())
        answers = []
        for file in files:
            there = space.files.get(file["path"])
            mode = "lfs" if is_large(file["size"], file["sample"]) else "regular"
            oid = None
            if there is not None:
                oid = hashlib.sha256(there).hexdigest() if mode == "lfs" else git_oid(there)
            answers.append(
                {
                    "path": file["path"],
                    "uploadMode": mode,
                    "shouldIgnore": ignored.match_file(file["path"]),
                    "oid": oid,
                }
            )
        return answers

    def commit(
        self,
        space: Space,
        message: str,
        parent: str | None,
        files: dict[str, bytes],
        deleted: list[str],
        *,
        as_pull_request: bool,
    ) -> tuple[str, PullRequest | None]:
        if as_pull_request:
            request = PullRequest(len(space.pull_requests) + 1, message, files)
            space.pull_requests.append(request)
            return next(self._shas), request
        if parent is not None and parent != space.sha:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        space.files.update(files)
        for path in deleted:
            del space.files[path]
        self._commit(space, message, (*files, *deleted))
        return space.sha, None

    def _commit(self, space: Space, message: str, changed: tuple[str, ...]) -> None:
        space.commits.append(Commit(next(self._shas), message, changed))

    def _check_owner(self, repo_id: str, user: User) -> None:
        owner = repo_id.partition("/")[0]
        if not user.may_write or owner not in {user.name, *user.organizations}:
            raise Refusal(403, f"You don't have the rights to create a space under the namespace {owner!r}")

    def _check_payment(self, hardware: str, user: User) -> None:
        if hardware != _FREE and not user.can_pay:
            raise Refusal(402, "Please add a payment method to use this hardware")


def mistakes_of_card(readme: str) -> list[str]:
    """What the Hub does not take in a README's front matter."""
    parts = readme.split("---\n")
    try:
        card = yaml.safe_load(parts[1]) if len(parts) > 2 else {}
    except yaml.YAMLError as error:
        return [str(error)]
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    return [
        f'"{key}" must be one of {sorted(colors)}'
        for key in ("colorFrom", "colorTo")
        if card.get(key, "red") not in colors
    ]


def _is_private(settings: dict[str, Any]) -> bool:
    return bool(settings.get("private")) or settings.get("visibility") == "private"


def _pairs(listed: list[dict[str, str]] | None) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in listed or ()}
