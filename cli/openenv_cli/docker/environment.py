"""Build an environment's image, and its usual base image, ``openenv-base``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from openenv_cli.docker.dockerfile import base_images, declared_arguments, read_dockerfile
from openenv_cli.docker.images import build_image, has_image
from openenv_cli.docker.labels import labels_of
from openenv_cli.files import IgnoreRules, read_text
from openenv_cli.output import note
from openenv_gym.errors import ConfigurationError
from openenv_gym.manifest import canonical_name

BASE_IMAGE = "openenv-base:latest"
# Where to look for an environment's Dockerfile, in order.
DOCKERFILES = (Path("server/Dockerfile"), Path("Dockerfile"))


def default_tag(name: str) -> str:
    """The default name of an environment's image: ``openenv-my-env`` for ``my_env``."""
    # Docker accepts lower case only.
    return f"openenv-{canonical_name(name).lower()}"


def find_dockerfile(folder: Path) -> Path:
    """Find the Dockerfile of an environment's folder.

    Raises:
        ConfigurationError: It has none.
    """
    for place in DOCKERFILES:
        if (folder / place).is_file():
            return folder / place
    raise ConfigurationError(
        f"{folder} has neither server/Dockerfile nor Dockerfile.",
        advice="Pass one with --dockerfile, or copy the one that `openenv init` writes. If it exists, "
        ".gitignore excludes it.",
    )


def build_environment(
    context: Path,
    dockerfile: Path,
    tag: str,
    *,
    name: str,
    build_args: Mapping[str, str] | None = None,
    no_cache: bool = False,
    rules: IgnoreRules | None = None,
) -> None:
    """Build an environment's image with its labels, and ``openenv-base`` first if it is needed and missing.

    Args:
        context: The folder that the Dockerfile copies from. It must need nothing outside itself.
        dockerfile: The Dockerfile.
        tag: The image's name.
        name: The environment's name, for a Dockerfile with the argument ``ENV_NAME``.
        build_args: Values for the Dockerfile's arguments.
        no_cache: Whether to build without the cache.
        rules: Names the files that are meant to be published although they look like secrets; by default the
            rules of the context.

    Raises:
        ConfigurationError: No Docker that can build, or the Dockerfile copies files that look like secrets.
        DockerError: A build failed.
    """
    _refuse_secrets(context, dockerfile, rules or IgnoreRules(context))
    instructions = read_dockerfile(read_text(dockerfile))
    # The guide's Dockerfile has both. "standalone": everything it needs is in the context.
    ours = {"BUILD_MODE": "standalone", "ENV_NAME": name}
    declared = declared_arguments(instructions)
    arguments = {key: value for key, value in ours.items() if key in declared} | dict(build_args or {})
    needs_base = base_images(instructions, arguments) & {BASE_IMAGE, BASE_IMAGE.partition(":")[0]}
    if needs_base and not has_image(BASE_IMAGE):
        note(f"Building {BASE_IMAGE} first, which {dockerfile.name} starts from and which is missing.")
        build_base()
    build_image(context, dockerfile, tag, arguments, no_cache, labels_of(context, instructions, name))


def _refuse_secrets(context: Path, dockerfile: Path, rules: IgnoreRules) -> None:
    from openenv_cli.secret_files import KEEP_ADVICE, files_of, secrets_of_image

    found = secrets_of_image(dockerfile, context, files_of(context), rules)
    if found:
        raise ConfigurationError(
            "Nothing was built: everyone with access to the image can read its files, and these look like "
            f"secrets: {'; '.join(found)}.",
            advice=f"Add them to .gitignore or .dockerignore. {KEEP_ADVICE}",
        )


def build_base(
    tag: str = BASE_IMAGE, build_args: Mapping[str, str] | None = None, no_cache: bool = False
) -> None:
    """Build ``openenv-base``.

    Args:
        tag: The image's name.
        build_args: Values for its Dockerfile's arguments, such as ``PYTHON_IMAGE``, its base image.
        no_cache: Whether to build without the cache.

    Raises:
        ConfigurationError: No Docker that can build.
        DockerError: The build failed.
    """
    dockerfile = base_dockerfile()
    build_image(dockerfile.parent, dockerfile, tag, build_args or {}, no_cache)


def base_dockerfile() -> Path:
    """The Dockerfile of ``openenv-base``, which copies nothing from its context."""
    import openenv_scaffolds

    return Path(openenv_scaffolds.__file__).parent / "base" / "Dockerfile"
