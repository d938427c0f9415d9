"""An environment's folder into one Space or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openenv_cli.bundle import bundled
from openenv_cli.secret_files import looks_secret
from openenv_gym.errors import ConfigurationError, HubError

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

    from openenv_cli.hub.client import Hub
    from openenv_cli.hub.settings import Settings


@dataclass(frozen=True)
class Source:
    """What is pushed.

    Attributes:
        folder: The environment's folder. Nothing in it is changed.
        manifest: Its ``openenv.yaml``.
        base_image: The image to start from instead of the Dockerfile's; None keeps that.
        exclude: Patterns of what to leave out, beside the ignore files.
    """

    folder: Path
    manifest: Manifest
    base_image: str | None
    exclude: tuple[str, ...]


def push_spaces(
    hub: Hub,
    source: Source,
    repo_ids: Sequence[str],
    settings: Settings,
    *,
    has_interface: bool,
    as_pull_request: bool,
) -> None:
    """Pushes to each of these Spaces, makes those that are not there, and shows each.

    Raises:
        ConfigurationError: No Space can be made of the folder, or it has files that look like secrets.
        HubError: The Hub refuses, fails, or cannot be reached.
    """
    from openenv_cli.hub.preparing import prepare_space
    from openenv_cli.hub.showing import note

    with bundled(source.folder, source.exclude) as bundle:
        _refuse_secrets(bundle)
        notes = prepare_space(
            bundle, source.manifest, base_image=source.base_image, has_interface=has_interface
        )
        for sentence in notes:
            note(sentence)
        message = f"Push {source.manifest.name} with openenv"
        for repo_id in repo_ids:
            _push_space(hub, bundle, repo_id, settings, message, as_pull_request)


def _refuse_secrets(bundle: Path) -> None:
    """A Space shows all of its files, also those that a .dockerignore keeps out of its image."""
    found = sorted(
        path.relative_to(bundle).as_posix()
        for path in bundle.rglob("*")
        if path.is_file() and looks_secret(path.name)
    )
    if found:
        raise ConfigurationError(
            f"Nothing was pushed: who sees a Space sees its files, and {', '.join(found)} most likely "
            "holds a secret. Name it in .gitignore, or leave it out with --exclude"
        )


def _push_space(
    hub: Hub, bundle: Path, repo_id: str, settings: Settings, message: str, as_pull_request: bool
) -> None:
    from openenv_cli.hub.settings import change_space, find_space, make_space
    from openenv_cli.hub.showing import note, show_space, waiting
    from openenv_cli.hub.upload import upload

    with waiting(f"Preparing {repo_id}…"):
        space = find_space(hub, repo_id)
        if space is not None:
            change_space(hub, space, settings)
        elif as_pull_request:
            raise HubError(
                f"There is no Space {repo_id} at {hub.api.endpoint} to open a pull request on, or the token "
                "may not see it. Push without --create-pr to make it, or name another with --repo-id."
            )
        else:
            space = make_space(hub, repo_id, settings)
    done = upload(hub, space, bundle, message, as_pull_request=as_pull_request)
    if done.left_over and not as_pull_request:
        note(
            f"{repo_id} keeps files that the folder has not: {', '.join(done.left_over[:10])}"
            f"{', …' if len(done.left_over) > 10 else ''}. Delete them on {hub.page(repo_id)}/tree/main"
        )
    if done.pull_request:
        headline = f"There is a pull request on {repo_id}"
    elif done.has_changed:
        headline = f"{repo_id} has it, and builds now: some minutes, {hub.page(repo_id)}?logs=build"
    else:
        headline = f"{repo_id} has it already: nothing was uploaded"
    show_space(
        hub,
        repo_id,
        headline=headline,
        host=space.host,
        pull_request=done.pull_request,
        commit=done.commit,
        uploaded="yes" if done.has_changed else "nothing",
    )
