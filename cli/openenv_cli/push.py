"""``openenv push``: an environment to a Space on the Hugging Face Hub, or to a registry of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openenv_cli.hub.options import EnvVar, Hardware, Private, Secret
from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

    from openenv_cli.hub.pushing import Source


def push(
    path: Annotated[
        Path | None, typer.Argument(help="The environment's folder, with openenv.yaml. Default: this one.")
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="The same, as an option.")] = None,
    repo_id: Annotated[
        str | None,
        typer.Option(metavar="[OWNER/]NAME", help="The Space. Default: the environment's name, your own."),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="Push an image to this registry instead, such as ghcr.io/my-org.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="With --registry: the image's name and tag. Default: openenv-NAME")
    ] = None,
    base_image: Annotated[str | None, typer.Option(help="The image to start from, for this push.")] = None,
    interface: Annotated[
        bool | None, typer.Option(help="The web interface. Default: on in a Space, off in a registry.")
    ] = None,
    private: Private = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request on the Space; change nothing in it.")
    ] = False,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave out, as a line in .gitignore would.")
    ] = None,
    hardware: Hardware = None,
    env_var: EnvVar = None,
    secret: Secret = None,
    count: Annotated[int, typer.Option(min=1, help="So many Spaces of it: NAME-1, NAME-2, ….")] = 1,
) -> None:
    """Publishes an environment: in a Space, or as an image in a registry.

    Validates first. What is changed for the push (card, Dockerfile) is changed in a copy. All files arrive in
    one commit; where nothing has changed there is none. In a pipe, each line of the result is a name, a tab
    and a value.

    Examples:
        openenv push

        openenv push ./my_env --repo-id my-org/my-env --private

        openenv push --env-var LEVEL=3 --secret API_KEY --hardware t4-small

        openenv push --exclude "*.mp4" --create-pr --repo-id my-org/my-env

        openenv push --registry ghcr.io/my-org --tag my-env:latest

        openenv push --base-image ghcr.io/meta-pytorch/openenv-base:latest
    """
    if path is not None and directory is not None:
        raise ConfigurationError(f"Push the folder {path} or --directory {directory}, not both at once")
    _refuse_together(
        "--registry",
        registry is not None,
        {
            "--repo-id": repo_id,
            "--private": private,
            "--create-pr": create_pr,
            "--hardware": hardware,
            "--env-var": env_var,
            "--secret": secret,
            "--count": count > 1,
        },
        "an image in a registry has no settings of a Space",
    )
    _refuse_together(
        "--create-pr",
        create_pr,
        {
            "--private": private,
            "--hardware": hardware,
            "--env-var": env_var,
            "--secret": secret,
            "--count": count > 1,
        },
        "a pull request has files alone",
    )
    if tag is not None and registry is None:
        raise ConfigurationError("--tag goes with --registry; the Space's name is --repo-id")

    from openenv_cli.hub.pairs import read_variables_and_secrets
    from openenv_cli.hub.pushing import Source

    variables, secrets = read_variables_and_secrets(env_var or (), secret or ())
    folder = (path or directory or Path()).resolve()
    source = Source(folder, _validated(folder), base_image, tuple(exclude or ()))
    if registry is not None:
        from openenv_cli.docker.environment import default_tag

        name = tag or default_tag(source.manifest.name)
        _push_image(source, f"{registry.rstrip('/')}/{name}", bool(interface))
        return

    from openenv_cli.hub.client import connect
    from openenv_cli.hub.pushing import push_spaces
    from openenv_cli.hub.settings import Settings
    from openenv_gym.hub_names import space_id

    hub = connect("openenv push", secrets.values())
    name = space_id(hub.full_name(repo_id or source.manifest.name))
    push_spaces(
        hub,
        source,
        [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)],
        Settings(private, hardware, variables, secrets),
        has_interface=interface is not False,
        as_pull_request=create_pr,
    )


def _refuse_together(option: str, is_given: bool, others: dict[str, object], reason: str) -> None:
    given = [other for other, value in others.items() if value]
    if is_given and given:
        raise ConfigurationError(f"{option} does not go with {' and '.join(given)}: {reason}")


def _validated(folder: Path) -> Manifest:
    """Checks an environment's files; returns its ``openenv.yaml``.

    Raises:
        ConfigurationError: It is no environment, or a check failed; the message has all that did.
    """
    from openenv_server.manifest import read_manifest

    from openenv_cli.validation.check import Silence
    from openenv_cli.validation.report import Level, Outcome
    from openenv_cli.validation.validating import validate_folder

    report = validate_folder(folder, Silence(), level=Level.STATIC)
    failed = [check for check in report.checks if check.outcome is Outcome.FAILED]
    if failed:
        reasons = "\n".join(f"✗ {check.title}: {check.detail} → {check.fix}" for check in failed)
        raise ConfigurationError(f"Nothing was pushed: {folder} is not valid.\n{reasons}")
    return read_manifest(folder)


def _push_image(source: Source, image: str, has_interface: bool) -> None:
    """Builds an image of the environment and pushes it to its registry."""
    from openenv_cli.bundle import bundled
    from openenv_cli.docker.client import find_builder
    from openenv_cli.docker.environment import build_environment
    from openenv_cli.docker.images import push_image
    from openenv_cli.hub.preparing import prepare_dockerfile
    from openenv_cli.hub.showing import show_image

    find_builder()  # says what is missing before the work begins
    with bundled(source.folder, source.exclude) as bundle:
        dockerfile = prepare_dockerfile(bundle, base_image=source.base_image, has_interface=has_interface)
        build_environment(bundle, dockerfile, image, name=source.manifest.name)
    push_image(image)
    show_image(image, source.manifest.port)
