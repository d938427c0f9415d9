"""From a bundle to what a Space or a registry gets: its card and Dockerfile, changed in the copy alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from openenv_cli.docker.environment import base_dockerfile, find_dockerfile
from openenv_cli.hub.card import complete_card
from openenv_cli.hub.dockerfile import with_base, with_base_inside, with_interface
from openenv_cli.texts import read_text

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest


def prepare_dockerfile(bundle: Path, *, base_image: str | None, has_interface: bool | None) -> Path:
    """Changes the Dockerfile of a bundle.

    Args:
        bundle: A copy of an environment's folder.
        base_image: The image to start from; None keeps what is there.
        has_interface: Whether the web interface is on; None leaves that to the Dockerfile.

    Returns:
        Where it is in the bundle.

    Raises:
        ConfigurationError: There is no Dockerfile, or nothing in it to replace.
    """
    path = find_dockerfile(bundle)
    text = read_text(path)
    if base_image is not None:
        text = with_base(text, base_image)
    if has_interface is not None:
        text = with_interface(text, has_interface)
    path.write_text(text, encoding="utf-8")
    return path


def prepare_space(
    bundle: Path, manifest: Manifest, *, base_image: str | None, has_interface: bool
) -> list[str]:
    """Makes a Space of a bundle: a Dockerfile at its root that the Hub can build, and a complete card.

    Args:
        bundle: A copy of an environment's folder.
        manifest: Its ``openenv.yaml``.
        base_image: The image to start from; None keeps what is there; ``openenv-base``, which is local,
            becomes a stage of the Dockerfile.
        has_interface: Whether the web interface is on.

    Returns:
        Sentences on what was changed that its author may not expect.

    Raises:
        ConfigurationError: Something in it cannot be changed so.
    """
    notes = []
    dockerfile = prepare_dockerfile(bundle, base_image=base_image, has_interface=has_interface)
    text, was_local = with_base_inside(read_text(dockerfile), read_text(base_dockerfile()))
    if was_local:
        notes.append(
            "The Dockerfile of the Space builds openenv-base itself, because the Hub cannot see yours; "
            "--base-image names an image to start from instead. Your Dockerfile is as it was."
        )
    # The Hub builds the one at the root, and no other.
    at_root = bundle / "Dockerfile"
    if at_root.is_file() and at_root != dockerfile:
        notes.append(
            "There are two Dockerfiles: the Space gets server/Dockerfile, as `openenv build` takes it, "
            "in place of the one at the root."
        )
    dockerfile.unlink()
    at_root.write_text(text, encoding="utf-8")

    readme = bundle / "README.md"
    readme.write_text(
        complete_card(
            read_text(readme) if readme.is_file() else "",
            title=manifest.name.replace("_", " ").replace("-", " ").title(),
            port=manifest.port,
            has_interface=has_interface,
        ),
        encoding="utf-8",
    )
    return notes
