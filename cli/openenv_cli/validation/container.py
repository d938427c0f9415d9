"""The image: built, run, and looked at as any other server."""

from __future__ import annotations

import contextlib
import io
import secrets
import time
from collections.abc import Iterable
from functools import partial
from types import TracebackType

from openenv_cli.docker.client import find_builder, find_docker, run
from openenv_cli.docker.containers import Container
from openenv_cli.docker.environment import build_environment, default_tag
from openenv_cli.docker.images import image_size
from openenv_cli.validation.check import Check, Finding, failed, passed, warning
from openenv_cli.validation.folder import Folder
from openenv_cli.validation.server import Server, last_lines, stop_finding, why_it_ended
from openenv_cli.validation.tracebacks import own_frames
from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.transport.http import get_json

_POLL_S = 0.1
_MEGABYTE = 1_000_000
_IN_CONTAINER = {"server.start": "container.serve"}


def why_no_engine() -> str:
    """Why no image can be built here; empty where a Docker engine answers."""
    try:
        find_builder()
    except ConfigurationError as error:
        return str(error)
    return ""


class Image:
    """An environment's image, and the container that runs it; both are gone afterwards.

    Args:
        folder: The environment's folder.
        timeout_s: The time for the container to come up, and for each answer, in seconds.

    Attributes:
        server: The server in the container; its base URL is empty until it runs.
    """

    def __init__(self, folder: Folder, timeout_s: float) -> None:
        self.folder = folder
        self.server = Server(timeout_s)
        self.container: Container | None = None
        self._tag = ""
        self._shown = ""

    @property
    def packages(self) -> frozenset[str]:
        """The names that the environment's own package may have where it is installed."""
        return frozenset({self.folder.manifest.name, self.folder.path.name})

    def build(self) -> int:
        """Builds the image; returns its size in bytes.

        Raises:
            OpenEnvError: It could not be built.
        """
        from openenv_cli.bundle import bundled

        assert self.folder.dockerfile is not None
        name = self.folder.manifest.name
        self._tag = f"{default_tag(name)}:validate-{secrets.token_hex(4)}"
        # What Docker writes is for `openenv build`; of a failure the message has what matters.
        with bundled(self.folder.path) as bundle, contextlib.redirect_stderr(io.StringIO()):
            build_environment(bundle, self.folder.dockerfile, self._tag, name=name)
        return image_size(self._tag)

    def start(self) -> float:
        """Starts a container of it; returns the seconds until its server answered.

        Raises:
            ConfigurationError: It ended, or did not answer in time; the message has its last words.
        """
        begin = time.monotonic()
        self.container = Container(self._tag.replace(":", "-"), find_docker())
        self.container.start(self._tag, self.folder.manifest.port)
        self.server.base_url = self.container.base_url
        deadline = begin + self.server.timeout_s
        while True:
            state = self.container.state
            if not state["Running"]:
                raise ConfigurationError(
                    f"The container ended with the exit code {state['ExitCode']}\n{self.container.logs()}"
                )
            try:
                get_json(self.server.endpoint, "/health", timeout_s=self.server.timeout_s)
            except OpenEnvError as error:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"The container did not answer within {self.server.timeout_s:g} s ({error})\n"
                        f"{self.container.logs()}"
                    ) from error
                time.sleep(_POLL_S)
            else:
                return time.monotonic() - begin

    def stop(self) -> float:
        """Stops the container; returns the seconds that it took."""
        begin = time.monotonic()
        assert self.container is not None
        self.container.stop()
        return time.monotonic() - begin

    def new_words(self) -> str:
        """The last lines that the container wrote since the last call."""
        log = self.container.logs() if self.container is not None else ""
        begin = len(self._shown) if log.startswith(self._shown) else 0
        self._shown = log
        return last_lines(own_frames(log[begin:], self.packages))

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.container is not None:
            self.container.remove()
        if self._tag:
            run(find_docker(), "image", "rm", "--force", self._tag)


def in_container(checks: Iterable[Check[Server]]) -> tuple[Check[Image], ...]:
    """Checks of a server, for the one in the container."""
    return tuple(
        Check(
            f"container.{check.id}",
            f"In the container: {check.title}",
            partial(_look_at_server, check),
            check.fix,
            ("container.serve", *(_IN_CONTAINER.get(need, f"container.{need}") for need in check.needs)),
        )
        for check in checks
    )


def _look_at_server(check: Check[Server], image: Image) -> Finding:
    return check.look(image.server)


def _build(image: Image) -> Finding:
    return passed(f"{image.build() / _MEGABYTE:.0f} MB")


def _serve(image: Image) -> Finding:
    try:
        took_s = image.start()
    except ConfigurationError as error:
        image.new_words()
        run_by_hand = "openenv build, then docker run --rm -p 8000:8000 IMAGE"
        return why_it_ended(error, run_by_hand, packages=image.packages, in_image=True)
    return passed(f"A container of the image, at {image.server.base_url}: up after {took_s:.1f} s")


def _is_not_root(image: Image) -> Finding:
    assert image.container is not None
    user = str(image.container.config["User"])
    if user.partition(":")[0] in ("", "0", "root"):
        return warning(
            "The server runs as root", "Add a line such as `USER 1000` before the CMD of the Dockerfile."
        )
    return passed(f"The server runs as the user {user}")


def _is_healthy(image: Image) -> Finding:
    assert image.container is not None
    test = (image.container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test[0] == "NONE":
        return warning("It has no health check", "Add a HEALTHCHECK that asks for /health.")
    # Run by hand: Docker itself would wait for the interval first.
    command = ["sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
    done = image.container.execute(*command)
    if done.returncode != 0:
        return failed(
            f"`{' '.join(test[1:])}` ends with {done.returncode}, while /health answers that it is well: "
            f"{last_lines(done.stdout + done.stderr)}",
            "Mend the HEALTHCHECK; what it runs has to be in the image.",
        )
    return passed(f"`{' '.join(test[1:])}` ends with 0")


def _stop(image: Image) -> Finding:
    return stop_finding(image.stop())


IMAGE_CHECKS = (
    Check(
        "container.build",
        "Its image can be built",
        _build,
        "Mend the step that is named; `openenv build` shows all of it.",
        # What does not start here does not start there, and a build takes its time.
        ("docker.from", "manifest.valid", "server.start"),
    ),
    Check(
        "container.serve",
        "The image serves the environment",
        _serve,
        "Try it: openenv build, then docker run --rm -p 8000:8000 IMAGE.",
        ("container.build",),
    ),
    Check("container.user", "The server in it is not root", _is_not_root, needs=("container.serve",)),
    Check(
        "container.health", "Its health check says that it is well", _is_healthy, needs=("container.serve",)
    ),
)
IMAGE_STOP_CHECKS = (
    Check("container.stop", "The container stops when it is told to", _stop, needs=("container.serve",)),
)
