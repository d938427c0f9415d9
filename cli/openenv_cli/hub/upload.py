"""A bundle into a Space: in one commit, and in none where nothing has changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openenv_cli.hub.client import Hub
from openenv_cli.hub.failures import may_pass
from openenv_cli.hub.showing import waiting
from openenv_gym.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from huggingface_hub.hf_api import SpaceInfo

_WAITS_S = (1.0, 4.0)  # before the second and the third attempt
# The bundle has left out already what is to be left out, and a .gitignore may name what was put into it.
_IGNORE_NOTHING = "# nothing"
_OF_THE_HUB = frozenset({".gitattributes"})


@dataclass(frozen=True)
class Uploaded:
    """What an upload came to.

    Attributes:
        commit: The commit that has the files.
        has_changed: Whether it is a new one.
        pull_request: The address of the pull request, if it became one.
        left_over: Files of the Space that the bundle has not.
    """

    commit: str
    has_changed: bool
    pull_request: str | None
    left_over: tuple[str, ...]


def upload(hub: Hub, space: SpaceInfo, bundle: Path, message: str, *, as_pull_request: bool) -> Uploaded:
    """Uploads a bundle.

    What fails for a moment is tried again. That cannot upload twice: each attempt asks the Hub anew which
    files it has, and names the commit that it follows, so that the Hub refuses it after another has come
    through. For pull requests the Hub has no such check, so they are tried once.

    Args:
        hub: The Hub.
        space: The Space.
        bundle: The folder whose files it gets.
        message: The commit's message, and the pull request's title.
        as_pull_request: Opens a pull request instead.

    Raises:
        HubError: The Hub refuses, fails, or cannot be reached. The Space is as it was.
    """
    files = {
        path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*")) if path.is_file()
    }
    before = space.sha
    for wait_s in (*_WAITS_S, None):
        try:
            with hub.doing(f"Uploading to {space.id}"):
                made = _commit(hub, space, files, message, as_pull_request)
            break
        except HubError as error:
            cause = error.__cause__
            if cause is None or not may_pass(cause):
                raise
            if as_pull_request:
                raise HubError(
                    f"{error} A pull request may have come through all the same: look at "
                    f"{hub.page(space.id)}/discussions first."
                ) from cause
            if wait_s is None:
                raise
        time.sleep(wait_s)
        with hub.doing(f"Looking whether the upload to {space.id} came through"):
            space = hub.api.space_info(space.id)
    there = {sibling.rfilename for sibling in space.siblings or ()}
    return Uploaded(
        commit=made.oid,
        has_changed=made.oid != before,
        pull_request=made.pr_url,
        left_over=tuple(sorted(there - files.keys() - _OF_THE_HUB)),
    )


def _commit(
    hub: Hub, space: SpaceInfo, files: dict[str, Path], message: str, as_pull_request: bool
) -> CommitInfo:
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    # Large files go first, each with a bar of the client; small ones are in the commit itself.
    hub.api.preupload_lfs_files(
        space.id,
        additions=additions,
        repo_type="space",
        create_pr=as_pull_request,
        gitignore_content=_IGNORE_NOTHING,
    )
    with waiting(f"Committing {len(files)} files to {space.id}…"):
        return hub.api.create_commit(
            space.id,
            operations=additions,
            commit_message=message,
            repo_type="space",
            create_pr=as_pull_request,
            parent_commit=None if as_pull_request else space.sha,
        )
