"""A Space on the Hub: find it, create it, change its settings, upload files, and fork it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openenv_cli.hub.client import Hub
from openenv_cli.hub.errors import is_transient
from openenv_cli.output import note, print_facts, status
from openenv_gym.errors import ConfigurationError, HubError
from openenv_gym.providers.hub_spaces import space_host

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from huggingface_hub.hf_api import SpaceInfo

_RETRY_DELAYS_S = (1.0, 4.0)
# The bundle is filtered already, and a .gitignore may match wheels that were added to it.
_IGNORE_NOTHING = "# nothing"
_HUB_FILES = frozenset({".gitattributes"})


@dataclass(frozen=True)
class SpaceSettings:
    """The requested settings of a Space. The others are left as they are.

    Attributes:
        is_private: Whether only the owner can see it.
        hardware: The Hub's name of the hardware, such as ``t4-small``.
        variables: Environment variables; public.
        secrets: Environment variables that nobody can read.
    """

    is_private: bool = False
    hardware: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Upload:
    """The result of an upload.

    Attributes:
        commit: The commit that has the files.
        has_changed: Whether the commit is new.
        pull_request: The URL of the pull request, if one was opened.
        extra_files: Files in the Space that are not in the bundle.
    """

    commit: str
    has_changed: bool
    pull_request: str | None
    extra_files: tuple[str, ...]


def find_space(hub: Hub, repo_id: str) -> SpaceInfo | None:
    """Look up a Space; None if it does not exist or the token cannot see it.

    Raises:
        HubError: The Hub fails or is unreachable.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub.doing(f"Looking up the Space {repo_id}"):
        try:
            return hub.api.space_info(repo_id)
        except RepositoryNotFoundError:
            return None


def create_space(hub: Hub, repo_id: str, settings: SpaceSettings) -> SpaceInfo:
    """Create a Space with its settings, in one request: afterwards it has all of them, or does not exist.

    Raises:
        HubError: The Hub refuses, fails, or is unreachable.
    """
    with hub.doing(f"Creating the Space {repo_id}"):
        hub.api.create_repo(
            repo_id,
            repo_type="space",
            space_sdk="docker",
            private=settings.is_private or None,
            space_hardware=settings.hardware,  # type: ignore[arg-type]  # the Hub knows more than the enum
            space_variables=_as_list(settings.variables),
            space_secrets=_as_list(settings.secrets),
        )
        return hub.api.space_info(repo_id)


def change_space(hub: Hub, space: SpaceInfo, settings: SpaceSettings) -> None:
    """Change the settings of a Space that differ. Secrets cannot be read back, so all of them are set.

    Raises:
        HubError: The Hub refuses, fails, or is unreachable.
    """
    api, repo_id = hub.api, space.id
    if settings.is_private and not space.private:
        with hub.doing(f"Making {repo_id} private"):
            api.update_repo_settings(repo_id, private=True, repo_type="space")
    if settings.variables:
        with hub.doing(f"Reading the variables of {repo_id}"):
            current = {key: variable.value for key, variable in api.get_space_variables(repo_id).items()}
        for key, value in settings.variables.items():
            if current.get(key) != value:
                with hub.doing(f"Setting the variable {key} of {repo_id}"):
                    api.add_space_variable(repo_id, key, value)
    for key, value in settings.secrets.items():
        with hub.doing(f"Setting the secret {key} of {repo_id}"):
            api.add_space_secret(repo_id, key, value)
    if settings.hardware is not None:
        with hub.doing(f"Requesting {settings.hardware} for {repo_id}"):
            runtime = api.get_space_runtime(repo_id)
            if settings.hardware != (runtime.requested_hardware or runtime.hardware):
                api.request_space_hardware(repo_id, settings.hardware)  # type: ignore[arg-type]


def upload(
    hub: Hub,
    space: SpaceInfo,
    bundle: Path,
    message: str,
    *,
    as_pull_request: bool,
    delete: Sequence[str] = (),
) -> Upload:
    """Upload a bundle in one commit; in none if nothing has changed.

    Transient failures are retried. A retry cannot upload twice: each attempt asks the Hub which files it
    has and names its parent commit, so the Hub rejects it if an earlier attempt succeeded. The Hub has no
    such check for pull requests, so those are not retried.

    Args:
        hub: The Hub.
        space: The Space.
        bundle: The folder to upload.
        message: The commit message, and the title of a pull request.
        as_pull_request: Whether to open a pull request instead.
        delete: Patterns of the Space's files to delete in the same commit; files of the bundle are kept.

    Raises:
        HubError: The Hub refuses, fails, or is unreachable. The Space is unchanged.
    """
    files = {
        path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*")) if path.is_file()
    }
    before = space.sha
    for delay_s in (*_RETRY_DELAYS_S, None):
        try:
            extra = _extra_files(space, files)
            deleted = _matching(extra, delete)
            with hub.doing(f"Uploading to {space.id}"):
                made = _commit(hub, space, files, deleted, message, as_pull_request)
            break
        except HubError as error:
            if error.__cause__ is None or not is_transient(error.__cause__):
                raise
            if as_pull_request:
                error.advice += (
                    " The pull request may have been opened anyway: check "
                    f"{hub.page(space.id)}/discussions first."
                )
            if as_pull_request or delay_s is None:
                raise
        time.sleep(delay_s)
        with hub.doing(f"Checking the upload to {space.id}"):
            space = hub.api.space_info(space.id)
    return Upload(
        commit=made.oid,
        has_changed=made.oid != before,
        pull_request=made.pr_url,
        extra_files=tuple(sorted(extra - deleted)),
    )


def _extra_files(space: SpaceInfo, files: Mapping[str, Path]) -> set[str]:
    """The files in a Space that are neither in the bundle nor the Hub's own."""
    return {sibling.rfilename for sibling in space.siblings or ()} - files.keys() - _HUB_FILES


def _matching(names: set[str], patterns: Sequence[str]) -> set[str]:
    """The names that match a pattern, as ``hf upload`` reads it: ``*`` matches a slash too."""
    whole = [f"{pattern}*" if pattern.endswith("/") else pattern for pattern in patterns]
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in whole)}


def _commit(
    hub: Hub,
    space: SpaceInfo,
    files: dict[str, Path],
    deleted: set[str],
    message: str,
    as_pull_request: bool,
) -> CommitInfo:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    # Large files go first, each with a progress bar of the client; the commit contains the small ones.
    hub.api.preupload_lfs_files(
        space.id,
        additions=additions,
        repo_type="space",
        create_pr=as_pull_request,
        gitignore_content=_IGNORE_NOTHING,
    )
    with status(f"Committing {len(files)} files to {space.id}…"):
        return hub.api.create_commit(
            space.id,
            operations=[*additions, *map(CommitOperationDelete, sorted(deleted))],
            commit_message=message,
            repo_type="space",
            create_pr=as_pull_request,
            parent_commit=None if as_pull_request else space.sha,
        )


def fork_space(hub: Hub, source: str, target: str, settings: SpaceSettings) -> None:
    """Have the Hub copy a Space. Not retried: the copy may exist even if the response was lost.

    Raises:
        HubError: The Space does not exist or is not an environment, or the Hub refuses, fails, or is
            unreachable.
    """
    space = find_space(hub, source)
    if space is None:
        raise HubError(
            f"The Space {source} does not exist at {hub.api.endpoint}, or the token cannot see it.",
            advice="Check the spelling; a private Space needs its owner's token.",
        )
    if space.sdk != "docker":
        raise HubError(
            f"{source} is not an OpenEnv environment: its SDK is {space.sdk}, not docker.",
            advice=f"See {hub.page(source)}",
        )
    # Older releases call it duplicate_space, and its parameters have no prefix.
    api: Any = hub.api
    is_older = not hasattr(api, "duplicate_repo")
    prefix = "" if is_older else "space_"
    duplicate = api.duplicate_space if is_older else partial(api.duplicate_repo, repo_type="space")
    options = {
        "hardware": settings.hardware,
        "variables": _as_list(settings.variables),
        "secrets": _as_list(settings.secrets),
    }
    try:
        with hub.doing(f"Forking {source} to {target}"):
            duplicate(
                source,
                target,
                private=settings.is_private or None,
                **{f"{prefix}{name}": value for name, value in options.items()},
            )
    except HubError as error:
        if error.__cause__ is not None and is_transient(error.__cause__):
            error.advice += f" The copy may exist anyway: check {hub.page(target)} first."
        raise


def print_space(hub: Hub, repo_id: str, *, headline: str, host: str | None, **facts: str | None) -> None:
    """Print where a Space is and how to use it.

    Args:
        hub: The Hub.
        repo_id: The Space.
        headline: What was done, for people.
        host: The address of its server, if the Hub reports it.
        facts: More facts to print.
    """
    if not host:
        try:
            host = space_host(repo_id)
        except ConfigurationError as error:
            note(str(error))
    use = f'gym.make("openenv/remote", base_url="{host}")' if host else None
    print_facts(headline, {"space": hub.page(repo_id), "host": host, **facts, "use": use})


def _as_list(pairs: dict[str, str]) -> list[dict[str, str]] | None:
    """Variables or secrets, as the Hub's client expects them."""
    return [{"key": key, "value": value} for key, value in pairs.items()] or None
