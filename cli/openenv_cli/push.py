"""``openenv push``: publish an environment to a Space on the Hugging Face Hub, or to an image registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openenv_cli.hub.options import EnvVar, Hardware, Private, Secret
from openenv_gym.errors import ConfigurationError, HubError

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

    from openenv_cli.files import IgnoreRules
    from openenv_cli.hub.client import Hub
    from openenv_cli.hub.space import SpaceSettings


@dataclass(frozen=True)
class _Package:
    """An environment's folder, and how to publish it.

    Attributes:
        folder: The folder. Nothing in it is changed.
        manifest: Its ``openenv.yaml``.
        base_image: The image to start from; None keeps the Dockerfile's.
        exclude: Patterns to leave out, besides the ignore files.
        delete: Patterns of a Space's files to delete if the folder does not have them.
    """

    folder: Path
    manifest: Manifest
    base_image: str | None
    exclude: tuple[str, ...]
    delete: tuple[str, ...]


def push(
    path: Annotated[
        Path | None, typer.Argument(help="A folder with openenv.yaml. Default: the current folder.")
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="The folder, as an option.")] = None,
    repo_id: Annotated[
        str | None,
        typer.Option(
            "--repo-id",
            "-r",
            metavar="[OWNER/]NAME",
            help="The Space. Default: its name, in your account.",
        ),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="Push an image to this registry instead, such as ghcr.io/my-org.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="With --registry: the image's name and tag. Default: openenv-NAME")
    ] = None,
    base_image: Annotated[
        str | None, typer.Option("--base-image", "-b", help="The base image for this push.")
    ] = None,
    interface: Annotated[
        bool | None, typer.Option(help="The web interface. Default: on in a Space, off in a registry.")
    ] = None,
    private: Private = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request instead of changing the Space.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN|FILE",
            help="A pattern to leave out, as in .gitignore, or a file of them in the folder.",
        ),
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Delete the Space's files of this pattern that are not in the folder."
        ),
    ] = None,
    hardware: Hardware = None,
    env_var: EnvVar = None,
    secret: Secret = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="Push to this many Spaces: NAME-1, NAME-2, ….")
    ] = 1,
) -> None:
    """Publish an environment to a Space or to an image registry.

    Validates the files first. Changes for the push (card, Dockerfile) are made in a copy. All files are
    uploaded in one commit; none if nothing has changed. In a pipe, each line of the result is a name, a tab
    and a value.

    Examples:
        openenv push

        openenv push ./my_env --repo-id my-org/my-env --private

        openenv push --env-var LEVEL=3 --secret API_KEY --hardware t4-small

        openenv push --exclude "*.mp4" --create-pr --repo-id my-org/my-env

        openenv push --exclude .hubignore --delete "*"

        openenv push --registry ghcr.io/my-org --tag my-env:latest

        openenv push --base-image ghcr.io/meta-pytorch/openenv-base:latest
    """
    if path is not None and directory is not None:
        raise ConfigurationError(f"Pass either the folder {path} or --directory {directory}, not both.")
    no_pull_request = {
        "--private": private,
        "--hardware": hardware,
        "--env-var": env_var,
        "--secret": secret,
        "--count": count > 1,
    }
    if registry is not None:
        _refuse_together(
            "--registry",
            {"--repo-id": repo_id, "--create-pr": create_pr, "--delete": delete, **no_pull_request},
            "only a Space has these settings",
        )
    if create_pr:
        _refuse_together("--create-pr", no_pull_request, "a pull request changes files only")
    if tag is not None and registry is None:
        raise ConfigurationError("--tag requires --registry.", advice="Name a Space with --repo-id.")

    from openenv_cli.hub.options import read_variables_and_secrets

    variables, secrets = read_variables_and_secrets(env_var or (), secret or ())
    folder = (path or directory or Path()).resolve()
    excluded = _exclude_patterns(exclude or (), folder)
    package = _Package(folder, _validated(folder, excluded), base_image, excluded, tuple(delete or ()))
    if registry is not None:
        from openenv_cli.docker.environment import default_tag

        name = tag or default_tag(package.manifest.name)
        _push_image(package, f"{registry.rstrip('/')}/{name}", bool(interface))
        return

    from openenv_cli.hub.client import connect
    from openenv_cli.hub.space import SpaceSettings
    from openenv_gym.providers.hub_spaces import space_id

    hub = connect("openenv push", secrets.values())
    name = space_id(hub.full_name(repo_id or package.manifest.name))
    _push_spaces(
        hub,
        package,
        [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)],
        SpaceSettings(private, hardware, variables, secrets),
        has_interface=interface is not False,
        as_pull_request=create_pr,
    )


def _refuse_together(option: str, others: Mapping[str, object], reason: str) -> None:
    given = [other for other, value in others.items() if value]
    if given:
        raise ConfigurationError(f"{option} cannot be combined with {' and '.join(given)}: {reason}.")


def _exclude_patterns(given: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The patterns of ``--exclude``: each value is one, and the lines of a text file that it names are more.

    The file itself is left out too, because its name is also a pattern.
    """
    from openenv_cli.files import read_patterns
    from openenv_cli.output import note

    patterns = list(given)
    for value in given:
        if (folder / value).is_file() and (lines := read_patterns(folder / value, only_text=True)):
            patterns += lines
            note(f"Leaving out the patterns in {folder / value}.")
    return tuple(patterns)


def _validated(folder: Path, exclude: Sequence[str]) -> Manifest:
    """Check an environment's files and return its ``openenv.yaml``.

    Raises:
        ConfigurationError: It is not an environment, or checks failed; the message lists them.
    """
    from openenv_server.manifest import read_manifest

    from openenv_cli.validation.check import Silent
    from openenv_cli.validation.report import Level, Outcome
    from openenv_cli.validation.run import validate_folder

    report = validate_folder(folder, Silent(), level=Level.STATIC, exclude=exclude)
    failed = [check for check in report.checks if check.outcome is Outcome.FAILED]
    if failed:
        reasons = "\n".join(f"✗ {check.title}: {check.detail} → {check.fix}" for check in failed)
        raise ConfigurationError(f"Nothing was pushed: {folder} is not valid.\n{reasons}")
    return read_manifest(folder)


def _push_image(package: _Package, image: str, has_interface: bool) -> None:
    """Build an image of the environment and push it to its registry."""
    from openenv_cli.bundle import bundled
    from openenv_cli.docker.client import find_builder
    from openenv_cli.docker.environment import build_environment
    from openenv_cli.docker.images import push_image
    from openenv_cli.files import IgnoreRules
    from openenv_cli.hub.space_files import prepare_dockerfile
    from openenv_cli.output import print_facts

    find_builder()  # fails before the work begins
    port = package.manifest.port
    with bundled(package.folder, package.exclude) as bundle:
        dockerfile = prepare_dockerfile(bundle, base_image=package.base_image, has_interface=has_interface)
        build_environment(
            bundle,
            dockerfile,
            image,
            name=package.manifest.name,
            rules=IgnoreRules(package.folder, package.exclude),
        )
    push_image(image)
    print_facts(
        f"Pushed {image}.",
        {
            "image": image,
            "run": f"docker run --rm -p {port}:{port} {image}",
            "use": f'gym.make("openenv/remote", base_url="http://localhost:{port}")',
        },
    )


def _push_spaces(
    hub: Hub,
    package: _Package,
    repo_ids: Sequence[str],
    settings: SpaceSettings,
    *,
    has_interface: bool,
    as_pull_request: bool,
) -> None:
    """Push to Spaces, creating those that do not exist, and print each.

    Raises:
        ConfigurationError: The folder cannot become a Space, or has files that look like secrets.
        HubError: The Hub refuses, fails, or is unreachable.
    """
    from openenv_cli.bundle import bundled
    from openenv_cli.files import IgnoreRules
    from openenv_cli.hub.space_files import prepare_space
    from openenv_cli.output import note

    with bundled(package.folder, package.exclude) as bundle:
        _refuse_secrets(bundle, IgnoreRules(package.folder, package.exclude))
        for remark in prepare_space(
            bundle, package.manifest, base_image=package.base_image, has_interface=has_interface
        ):
            note(remark)
        message = f"Push {package.manifest.name} with openenv"
        for repo_id in repo_ids:
            _push_space(hub, bundle, repo_id, settings, message, as_pull_request, package.delete)


def _refuse_secrets(bundle: Path, rules: IgnoreRules) -> None:
    """A Space shows all its files, even those that a .dockerignore excludes from the image."""
    from openenv_cli.secret_files import KEEP_ADVICE, files_of, find_secrets

    found = [shown for _, shown in find_secrets(bundle, files_of(bundle), rules)]
    if found:
        raise ConfigurationError(
            "Nothing was pushed: a Space shows its files to everyone who can see it, and these look like "
            f"secrets: {', '.join(found)}.",
            advice=f"Add them to .gitignore, or pass --exclude. {KEEP_ADVICE}",
        )


def _push_space(
    hub: Hub,
    bundle: Path,
    repo_id: str,
    settings: SpaceSettings,
    message: str,
    as_pull_request: bool,
    delete: Sequence[str],
) -> None:
    from openenv_cli.hub.space import change_space, create_space, find_space, print_space, upload
    from openenv_cli.output import note, status

    with status(f"Preparing {repo_id}…"):
        space = find_space(hub, repo_id)
        if space is not None:
            change_space(hub, space, settings)
        elif as_pull_request:
            raise HubError(
                f"Cannot open a pull request: the Space {repo_id} does not exist at {hub.api.endpoint}, or "
                "the token cannot see it.",
                advice="Push without --create-pr to create it, or name another Space with --repo-id.",
            )
        else:
            space = create_space(hub, repo_id, settings)
    done = upload(hub, space, bundle, message, as_pull_request=as_pull_request, delete=delete)
    if done.extra_files and not as_pull_request:
        note(
            f"{repo_id} still has files that are not in the folder: {', '.join(done.extra_files[:10])}"
            f"{', …' if len(done.extra_files) > 10 else ''}. Delete them with --delete PATTERN, or at "
            f"{hub.page(repo_id)}/tree/main"
        )
    if done.pull_request:
        headline = f"Opened a pull request on {repo_id}."
    elif done.has_changed:
        headline = f"Pushed to {repo_id}. The build takes a few minutes: {hub.page(repo_id)}?logs=build"
    else:
        headline = f"{repo_id} is up to date: nothing was uploaded."
    print_space(
        hub,
        repo_id,
        headline=headline,
        host=space.host,
        pull_request=done.pull_request,
        commit=done.commit,
        uploaded="yes" if done.has_changed else "nothing",
    )
