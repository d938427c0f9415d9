"""Build, inspect, tag and push images, with progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from openenv_cli.docker.build_output import BuildOutput, Step
from openenv_cli.docker.client import find_builder, find_docker, run, stream
from openenv_cli.output import plain
from openenv_gym.errors import DockerError

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

    from openenv_cli.console import Console

_LAYER_DONE = ("Pushed", "Layer already exists", "Mounted from")
# What `docker push` prints when it fails, and the advice. Docker has no error codes. The first match counts.
_PUSH_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("does not exist locally", "No such image"),
        "Build it first: openenv build -t {tag}",
    ),
    (
        ("no such host", "name resolution", "server misbehaving"),
        "Check the registry's name, {registry}, and the network.",
    ),
    (
        ("connection refused",),
        "Nothing listens at {registry}. Check that the registry is running, and its port.",
    ),
    (
        ("unauthorized", "no basic auth credentials", "authentication required", "incorrect username"),
        "Log in, then push again: docker login {registry}",
    ),
    (
        ("denied", "insufficient_scope", "forbidden"),
        "The account logged in at {registry} may not push to this name. Log in with another "
        "(docker login {registry}), or push to a name of your own.",
    ),
    (
        ("server gave HTTP response to HTTPS client",),
        'The registry does not use TLS. If that is intended, add it to "insecure-registries" in the '
        "engine's daemon.json.",
    ),
    (
        ("x509", "certificate"),
        "The engine does not trust the registry's certificate. Put the CA certificate into "
        "/etc/docker/certs.d/{registry}/ca.crt",
    ),
    (
        ("invalid reference format",),
        "The form is registry/name:tag in lower case, such as ghcr.io/my-org/my-env:latest",
    ),
)
_OTHER_PUSH_ADVICE = "Push again to resume: uploaded layers are not sent twice."


def build_image(
    context: Path,
    dockerfile: Path,
    tag: str,
    build_args: Mapping[str, str],
    no_cache: bool = False,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Build an image with BuildKit, with progress.

    Args:
        context: The folder that the Dockerfile copies from.
        dockerfile: The Dockerfile, in the context or elsewhere.
        tag: The image's name, as ``name`` or ``name:tag``.
        build_args: Values for the Dockerfile's arguments.
        no_cache: Whether to build without the cache.
        labels: The image's labels.

    Raises:
        ConfigurationError: No Docker that can build.
        DockerError: The build failed. The message has the failed step and its last lines.
    """
    docker = find_builder()
    arguments = ["build", "--tag", tag, "--file", str(dockerfile)]
    for name, value in build_args.items():
        arguments += ["--build-arg", f"{name}={value}"]
    for name, value in (labels or {}).items():
        arguments += ["--label", f"{name}={value}"]
    if no_cache:
        arguments.append("--no-cache")
    output = BuildOutput()
    with _progress(f"Building {tag}") as progress:

        def on_line(line: str) -> None:
            progress.raw(line)
            if (update := output.feed(line)) is not None:
                _show(progress, *update)

        exit_code = stream(docker, *arguments, str(context), on_line=on_line)
    if exit_code != 0:
        raise DockerError(f"The image {tag} was not built: {output.cause()}")


def _show(progress: _Progress, step: Step, has_ended: bool) -> None:
    if has_ended and step.is_instruction and not step.error:
        progress.done(step.name, "cached" if step.is_cached else f"{step.seconds:.1f} s")
    elif not has_ended:
        progress.current(step.now)


def has_image(tag: str) -> bool:
    """Whether the engine has an image.

    Raises:
        ConfigurationError: No Docker.
        DockerError: The engine failed.
    """
    return bool(run(find_docker(), "image", "ls", "--quiet", tag))


def image_size(tag: str) -> int:
    """The size of an image in bytes.

    Raises:
        ConfigurationError: No Docker.
        DockerError: The image does not exist.
    """
    return int(run(find_docker(), "image", "inspect", "--format", "{{.Size}}", tag))


def push_image(tag: str) -> None:
    """Push an image to the registry in its name, with progress.

    Raises:
        ConfigurationError: No Docker.
        DockerError: The push failed. The advice says what to do next.
    """
    layers: dict[str, bool] = {}
    lines: list[str] = []
    with _progress(f"Pushing {tag}") as progress:

        def on_line(line: str) -> None:
            progress.raw(line)
            lines.append(line)
            layer, colon, state = line.partition(": ")
            # The last line, with the digest, looks like a layer's.
            if colon and not state.startswith("digest") and " " not in layer:
                layers[layer] = state.startswith(_LAYER_DONE)
                progress.current(f"{sum(layers.values())} of {len(layers)} layers")

        exit_code = stream(find_docker(), "push", tag, on_line=on_line)
    if exit_code != 0:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "docker push printed nothing")
        advice = next(
            (advice for signs, advice in _PUSH_ADVICE if any(sign.lower() in last.lower() for sign in signs)),
            _OTHER_PUSH_ADVICE,
        )
        raise DockerError(
            f"{tag} was not pushed: {last}.", advice=advice.format(tag=tag, registry=registry_of(tag))
        )


def registry_of(tag: str) -> str:
    """The registry in an image's name: its host and port."""
    first, slash, _ = tag.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else "docker.io"


class _Progress(Protocol):
    """Shows the progress of a docker command."""

    def raw(self, line: str) -> None:
        """A line of Docker's output."""

    def current(self, what: str) -> None:
        """The current activity."""

    def done(self, what: str, how: str) -> None:
        """A finished step, and its duration for example."""


@contextmanager
def _progress(title: str) -> Iterator[_Progress]:
    """Progress on standard error: steps in a terminal, Docker's own lines in a pipe."""
    if not sys.stderr.isatty():
        yield _PlainProgress()
        return
    from openenv_cli.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("") as status:
        progress = _TerminalProgress(console, status, title)
        progress.current("")
        yield progress


class _PlainProgress:
    """Docker's own lines, for a pipe."""

    def raw(self, line: str) -> None:
        print(plain(line), file=sys.stderr, flush=True)

    def current(self, what: str) -> None:
        pass

    def done(self, what: str, how: str) -> None:
        pass


class _TerminalProgress:
    """One line for each finished step, above a spinner with the current activity."""

    def __init__(self, console: Console, status: Status, title: str) -> None:
        self._console, self._status, self._title = console, status, title

    def raw(self, line: str) -> None:
        pass

    def current(self, what: str) -> None:
        from rich.text import Text

        text = Text(self._title, style="bold")
        text.append(f"  {what}", style="not bold")
        self._status.update(self._truncated(text, margin=2))  # the spinner and a blank

    def done(self, what: str, how: str) -> None:
        from rich.text import Text

        end = f"  {how}"
        self._console.print(self._truncated(Text(what), margin=len(end)) + Text(end, style="dim"))

    def _truncated(self, text: Text, margin: int) -> Text:
        text.truncate(max(self._console.width - margin, 1), overflow="ellipsis")
        return text
