"""From a bundle to what a Space or a registry gets: its card and Dockerfile, changed in the copy alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from openenv_cli.hub.card import complete_card
from openenv_cli.hub.dockerfile import PUBLIC_BASE, with_base, with_interface, without_local_base
from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

# The first that is there counts, as for `openenv build`.
_PLACES = (Path("server/Dockerfile"), Path("Dockerfile"))


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
    path = next((bundle / place for place in _PLACES if (bundle / place).is_file()), None)
    if path is None:
        raise ConfigurationError(
            "The environment has no server/Dockerfile, so no image can be made from it. "
            "`openenv init` writes one: copy it from there. If it is here, an ignore rule leaves it out."
        )
    text = path.read_text()
    if base_image is not None:
        text = with_base(text, base_image)
    if has_interface is not None:
        text = with_interface(text, has_interface)
    path.write_text(text)
    return path


def prepare_space(
    bundle: Path, manifest: Manifest, *, base_image: str | None, has_interface: bool
) -> list[str]:
    """Makes a Space of a bundle: a Dockerfile at its root that the Hub can build, and a complete card.

    Args:
        bundle: A copy of an environment's folder.
        manifest: Its ``openenv.yaml``.
        base_image: The image to start from; None keeps what is there, but for the local ``openenv-base``.
        has_interface: Whether the web interface is on.

    Returns:
        Sentences on what was changed that its author may not expect.

    Raises:
        ConfigurationError: Something in it cannot be changed so.
    """
    notes = []
    dockerfile = prepare_dockerfile(bundle, base_image=base_image, has_interface=has_interface)
    text, was_local = without_local_base(dockerfile.read_text())
    if was_local:
        notes.append(
            f"The Dockerfile of the Space starts from {PUBLIC_BASE}, because the Hub cannot see the local "
            "openenv-base; --base-image names another. Yours is as it was."
        )
    # The Hub builds the one at the root, and no other.
    at_root = bundle / "Dockerfile"
    if at_root.is_file() and at_root != dockerfile:
        notes.append(
            "There are two Dockerfiles: the Space gets server/Dockerfile, as `openenv build` takes it, "
            "in place of the one at the root."
        )
    dockerfile.unlink()
    at_root.write_text(text)

    readme = bundle / "README.md"
    readme.write_text(
        complete_card(
            readme.read_text() if readme.is_file() else "",
            title=manifest.name.replace("_", " ").replace("-", " ").title(),
            port=manifest.port,
            has_interface=has_interface,
        )
    )
    return notes
