"""An environment's image, and ``openenv-base``, which it usually starts from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from openenv_cli.docker.dockerfile import declared_arguments, images_to_start_from, read_dockerfile
from openenv_cli.docker.images import build_image, has_image
from openenv_cli.texts import read_text
from openenv_gym.errors import ConfigurationError
from openenv_gym.known import canonical_name

BASE_IMAGE = "openenv-base:latest"
# Where an environment may have its Dockerfile; the first that is there counts.
DOCKERFILES = (Path("server/Dockerfile"), Path("Dockerfile"))


def default_tag(name: str) -> str:
    """What an environment's image is called: ``openenv-my-env`` for ``my_env``."""
    # Docker takes no capital letters.
    return f"openenv-{canonical_name(name).lower()}"


def find_dockerfile(folder: Path) -> Path:
    """The Dockerfile of an environment's folder.

    Raises:
        ConfigurationError: There is none.
    """
    for place in DOCKERFILES:
        if (folder / place).is_file():
            return folder / place
    raise ConfigurationError(
        f"{folder} has neither server/Dockerfile nor Dockerfile, so no image can be built from it. "
        "Name one with --dockerfile, or take the one that `openenv init` writes. Where it is there, a line "
        "of .gitignore leaves it out."
    )


def build_environment(
    context: Path,
    dockerfile: Path,
    tag: str,
    *,
    name: str,
    build_args: Mapping[str, str] | None = None,
    no_cache: bool = False,
) -> None:
    """Builds an environment's image; first ``openenv-base``, where it starts from that and it is not there.

    Args:
        context: The folder that the Dockerfile copies from; it needs nothing outside of itself.
        dockerfile: The Dockerfile.
        tag: What the image is called.
        name: The environment's name, for a Dockerfile that takes the argument ``ENV_NAME``.
        build_args: Values for the Dockerfile's arguments.
        no_cache: Whether each step is done anew.

    Raises:
        ConfigurationError: There is no Docker that can build here.
        DockerError: A build failed.
    """
    instructions = read_dockerfile(read_text(dockerfile))
    # The guide's Dockerfile takes both. All that is needed is in the context, whatever repository it is from.
    ours = {"BUILD_MODE": "standalone", "ENV_NAME": name}
    declared = declared_arguments(instructions)
    arguments = {key: value for key, value in ours.items() if key in declared} | dict(build_args or {})
    starts_from = images_to_start_from(instructions, arguments)
    if starts_from & {BASE_IMAGE, BASE_IMAGE.partition(":")[0]} and not has_image(BASE_IMAGE):
        print(
            f"{BASE_IMAGE} is not here yet, and {dockerfile.name} starts from it: built first.",
            file=sys.stderr,
        )
        build_base()
    build_image(context, dockerfile, tag, arguments, no_cache)


def build_base(
    tag: str = BASE_IMAGE, build_args: Mapping[str, str] | None = None, no_cache: bool = False
) -> None:
    """Builds ``openenv-base``.

    Args:
        tag: What the image is called.
        build_args: Values for its Dockerfile's arguments: ``PYTHON_IMAGE``, what it starts from.
        no_cache: Whether each step is done anew.

    Raises:
        ConfigurationError: There is no Docker that can build here.
        DockerError: The build failed.
    """
    dockerfile = base_dockerfile()
    build_image(dockerfile.parent, dockerfile, tag, build_args or {}, no_cache)


def base_dockerfile() -> Path:
    """The Dockerfile of ``openenv-base``, which copies nothing from its context."""
    import openenv_scaffolds

    return Path(openenv_scaffolds.__file__).parent / "base" / "Dockerfile"
