"""Checks of the image: build it, run it, and check the server in the container."""

from __future__ import annotations

import contextlib
import io
import secrets
import time
from collections.abc import Iterable
from functools import partial
from types import TracebackType

from openenv_cli.docker.client import Container, find_builder, find_docker, run
from openenv_cli.docker.environment import build_environment, default_tag
from openenv_cli.docker.images import image_size
from openenv_cli.validation.check import Check, CheckResult, failed, passed, warning
from openenv_cli.validation.folder_checks import Folder
from openenv_cli.validation.server import Server, last_lines, own_frames, start_failure
from openenv_cli.validation.server_checks import stop_result
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, OpenEnvError

_POLL_S = 0.1
_MEGABYTE = 1_000_000
_IN_CONTAINER = {"server.start": "container.serve"}


def why_no_engine() -> str:
    """Why no image can be built here; empty if a Docker engine responds."""
    try:
        find_builder()
    except ConfigurationError as error:
        return str(error)
    return ""


class Image:
    """An environment's image and a container of it. Both are removed at the end of the context.

    Args:
        folder: The environment's folder.
        timeout_s: The timeout of the container's start and of each response, in seconds.

    Attributes:
        server: The server in the container; its base URL is empty until it runs.
    """

    def __init__(self, folder: Folder, timeout_s: float) -> None:
        self.folder = folder
        self.server: Server = Server(timeout_s)
        self.container: Container | None = None
        self._tag = ""
        self._seen_log = ""

    @property
    def packages(self) -> frozenset[str]:
        """The possible names of the environment's installed package."""
        return frozenset({self.folder.manifest.name, self.folder.path.name})

    def build(self) -> int:
        """Build the image and return its size in bytes.

        Raises:
            OpenEnvError: The build failed.
        """
        from openenv_cli.bundle import bundled

        assert self.folder.dockerfile is not None
        name = self.folder.manifest.name
        self._tag = f"{default_tag(name)}:validate-{secrets.token_hex(4)}"
        # Docker's output is hidden: if the build fails, the error has the relevant part.
        with bundled(self.folder.path) as bundle, contextlib.redirect_stderr(io.StringIO()):
            build_environment(bundle, self.folder.dockerfile, self._tag, name=name)
        return image_size(self._tag)

    def start(self) -> float:
        """Start a container and return how many seconds its server took to respond.

        Raises:
            ConfigurationError: The container exited.
            DeadlineExceededError: The server did not respond in time.
        """
        start = time.monotonic()
        self.container = Container(self._tag.replace(":", "-"), find_docker())
        self.container.start(self._tag, self.folder.manifest.port)
        self.server.base_url = self.container.base_url
        deadline = start + self.server.timeout_s
        while True:
            state = self.container.state
            if not state["Running"]:
                raise ConfigurationError(
                    f"The container exited with code {state['ExitCode']}.", log=self.container.logs()
                )
            try:
                self.server.health()
            except OpenEnvError as error:
                if time.monotonic() > deadline:
                    raise DeadlineExceededError(
                        f"The container did not respond within {self.server.timeout_s:g} s ({error}).",
                        log=self.container.logs(),
                    ) from error
                time.sleep(_POLL_S)
            else:
                return time.monotonic() - start

    def stop(self) -> float:
        """Stop the container and return how many seconds that took."""
        start = time.monotonic()
        assert self.container is not None
        self.container.stop()
        return time.monotonic() - start

    def new_log(self) -> str:
        """The container's last log lines since the last call."""
        log = self.container.logs() if self.container is not None else ""
        begin = len(self._seen_log) if log.startswith(self._seen_log) else 0
        self._seen_log = log
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
    """Checks of a server, for the server in the container."""
    return tuple(
        Check(
            f"container.{check.id}",
            f"In the container: {check.title}",
            partial(_check_server, check),
            check.fix,
            ("container.serve", *(_IN_CONTAINER.get(need, f"container.{need}") for need in check.needs)),
        )
        for check in checks
    )


def _check_server(check: Check[Server], image: Image) -> CheckResult:
    return check.run(image.server)


def _build(image: Image) -> CheckResult:
    return passed(f"{image.build() / _MEGABYTE:.0f} MB")


def _serve(image: Image) -> CheckResult:
    try:
        took_s = image.start()
    except (ConfigurationError, DeadlineExceededError) as error:
        image.new_log()  # the error has it
        by_hand = "openenv build, then docker run --rm -p 8000:8000 IMAGE"
        return start_failure(error, by_hand, folder=image.folder.path, packages=image.packages, in_image=True)
    return passed(f"A container of the image, at {image.server.base_url}: ready after {took_s:.1f} s")


def _user(image: Image) -> CheckResult:
    assert image.container is not None
    user = str(image.container.config["User"])
    if user.partition(":")[0] in ("", "0", "root"):
        return warning(
            "The server runs as root", "Add a line such as `USER 1000` before the CMD of the Dockerfile."
        )
    return passed(f"The server runs as the user {user}")


def _health(image: Image) -> CheckResult:
    assert image.container is not None
    test = (image.container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test[0] == "NONE":
        return warning("It has no health check", "Add a HEALTHCHECK that requests /health.")
    # Run directly, because Docker itself waits for the interval first.
    command = ["sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
    done = image.container.execute(*command)
    if done.returncode != 0:
        return failed(
            f"`{' '.join(test[1:])}` exits with {done.returncode} although /health responds: "
            f"{last_lines(done.stdout + done.stderr)}",
            "Fix the HEALTHCHECK. Its command must be in the image.",
        )
    return passed(f"`{' '.join(test[1:])}` exits with 0")


def _stop(image: Image) -> CheckResult:
    return stop_result(image.stop())


IMAGE_CHECKS = (
    Check(
        "container.build",
        "Its image can be built",
        _build,
        "Fix the step in the message; `openenv build` shows the whole output.",
        # A server that does not start here does not start there, and a build takes long.
        ("docker.from", "manifest.valid", "server.start"),
    ),
    Check(
        "container.serve",
        "The image serves the environment",
        _serve,
        "Try: openenv build, then docker run --rm -p 8000:8000 IMAGE.",
        ("container.build",),
    ),
    Check("container.user", "The server in it does not run as root", _user, needs=("container.serve",)),
    Check("container.health", "Its health check succeeds", _health, needs=("container.serve",)),
)
IMAGE_STOP_CHECKS = (
    Check("container.stop", "The container stops on SIGTERM", _stop, needs=("container.serve",)),
)
