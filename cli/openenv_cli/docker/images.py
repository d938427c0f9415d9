"""Images: built, looked at, tagged and pushed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from openenv_cli.docker.build_output import BuildOutput, Step
from openenv_cli.docker.client import find_builder, find_docker, run, stream
from openenv_cli.docker.display import Display, display
from openenv_gym.errors import DockerError

_LAYER_IS_THERE = ("Pushed", "Layer already exists", "Mounted from")
# What Docker says when a push fails, and what to do about it. The first that fits counts.
_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("does not exist locally", "No such image"),
        "Build it first: openenv build -t {tag}",
    ),
    (
        ("no such host", "name resolution", "server misbehaving"),
        "Is {registry} the right name, and is the network there?",
    ),
    (
        ("connection refused",),
        "Nothing listens at {registry}: is the registry running, and is the port right?",
    ),
    (
        ("unauthorized", "no basic auth credentials", "authentication required", "incorrect username"),
        "Log in, and push again: docker login {registry}",
    ),
    (
        ("denied", "insufficient_scope", "forbidden"),
        "The login at {registry} may not push to this name. Log in as somebody who may "
        "(docker login {registry}), or push to a name of your own.",
    ),
    (
        ("server gave HTTP response to HTTPS client",),
        'The registry speaks no TLS. Where that is meant, name it in "insecure-registries" of the engine\'s '
        "daemon.json.",
    ),
    (
        ("x509", "certificate"),
        "The engine does not trust the registry's certificate: put the authority's into "
        "/etc/docker/certs.d/{registry}/ca.crt",
    ),
    (
        ("invalid reference format",),
        "Write it as registry/name:tag, in small letters, as in ghcr.io/my-org/my-env:latest",
    ),
)
_OTHERWISE = "Pushing again goes on where it stopped: layers that arrived are not sent twice."


def build_image(
    context: Path, dockerfile: Path, tag: str, build_args: Mapping[str, str], no_cache: bool = False
) -> None:
    """Builds an image with BuildKit, and shows how far it is.

    Args:
        context: The folder that the Dockerfile copies from.
        dockerfile: The Dockerfile, in the context or elsewhere.
        tag: What the image is called, as ``name`` or ``name:tag``.
        build_args: Values for the Dockerfile's arguments.
        no_cache: Whether each step is done anew.

    Raises:
        ConfigurationError: There is no Docker that can build here.
        DockerError: The build failed; the message has the step that did, and the last lines of it.
    """
    docker = find_builder()
    arguments = ["build", "--tag", tag, "--file", str(dockerfile)]
    for name, value in build_args.items():
        arguments += ["--build-arg", f"{name}={value}"]
    if no_cache:
        arguments.append("--no-cache")
    output = BuildOutput()
    with display(f"Building {tag}") as shown:

        def on_line(line: str) -> None:
            shown.raw(line)
            if (progress := output.feed(line)) is not None:
                _show(shown, *progress)

        exit_code = stream(docker, *arguments, str(context), on_line=on_line)
    if exit_code != 0:
        raise DockerError(f"The image {tag} was not built: {output.cause()}")


def _show(shown: Display, step: Step, has_ended: bool) -> None:
    if has_ended and step.is_of_the_dockerfile and not step.error:
        shown.done(step.name, "cached" if step.is_cached else f"{step.seconds:.1f} s")
    elif not has_ended:
        shown.now(step.now)


def has_image(tag: str) -> bool:
    """Whether an image is in the engine's store.

    Raises:
        ConfigurationError: There is no Docker here.
        DockerError: The engine failed.
    """
    return bool(run(find_docker(), "image", "ls", "--quiet", tag))


def image_size(tag: str) -> int:
    """The size of an image, in bytes.

    Raises:
        ConfigurationError: There is no Docker here.
        DockerError: There is no such image.
    """
    return int(run(find_docker(), "image", "inspect", "--format", "{{.Size}}", tag))


def tag_image(tag: str, other: str) -> None:
    """Gives an image another name beside the one that it has.

    Raises:
        ConfigurationError: There is no Docker here.
        DockerError: There is no such image, or it cannot be called so.
    """
    run(find_docker(), "tag", tag, other)


def push_image(tag: str) -> None:
    """Pushes an image to the registry that its name begins with, and shows how far it is.

    Raises:
        ConfigurationError: There is no Docker here.
        DockerError: The push failed; the message says what to do next.
    """
    layers: dict[str, bool] = {}
    said: list[str] = []
    with display(f"Pushing {tag}") as shown:

        def on_line(line: str) -> None:
            shown.raw(line)
            said.append(line)
            layer, colon, state = line.partition(": ")
            # The last line names the tag and its digest, and has the form of a layer's.
            if colon and not state.startswith("digest") and " " not in layer:
                layers[layer] = state.startswith(_LAYER_IS_THERE)
                shown.now(f"{sum(layers.values())} of {len(layers)} layers")

        exit_code = stream(find_docker(), "push", tag, on_line=on_line)
    if exit_code != 0:
        last = next((line.strip() for line in reversed(said) if line.strip()), "docker push said nothing")
        advice = next(
            (advice for signs, advice in _ADVICE if any(sign.lower() in last.lower() for sign in signs)),
            _OTHERWISE,
        )
        raise DockerError(
            f"{tag} was not pushed: {last}. {advice.format(tag=tag, registry=registry_of(tag))}"
        )


def registry_of(tag: str) -> str:
    """The registry that an image's name leads to: its host, with its port where it has one."""
    first, slash, _ = tag.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else "docker.io"
