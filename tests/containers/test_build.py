"""`openenv build`, against a real engine."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest
from openenv_cli.docker.images import image_size

import openenv_gym  # noqa: F401 - registers the ids
from tests.containers.conftest import Build, openenv
from tests.support.engine import Engine
from tests.support.waiting import answers, wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("docker_host")]

MANIFEST = "name: small_env\n"


@pytest.fixture
def small(tmp_path: Path, python_image: str) -> Callable[[str], Path]:
    """Writes an environment's folder with a Dockerfile of a few lines."""

    def write(dockerfile: str) -> Path:
        folder = tmp_path / "small_env"
        folder.mkdir()
        (folder / "openenv.yaml").write_text(MANIFEST)
        (folder / "Dockerfile").write_text(f"FROM {python_image}\n{dockerfile}\n")
        return folder

    return write


def test_the_guides_environment_is_built_with_its_base(environment_image: Build, docker_host: Engine) -> None:
    assert environment_image.stdout == "openenv-my-env\n"
    assert "Building openenv-base:latest first" in environment_image.stderr
    assert "uv sync --no-editable" in environment_image.stderr, "Docker's own lines, as they come"
    assert "\x1b[" not in environment_image.stderr
    assert docker_host.docker("image", "ls", "-q", "openenv-base:latest")
    assert 100e6 < image_size("openenv-my-env") < 350e6


def test_its_container_is_healthy_and_is_not_root(environment_image: Build, docker_host: Engine) -> None:
    name = "guides-container"
    docker_host.docker(
        "run", "-d", "--name", name, "--health-interval=1s", "-p", "127.0.0.1::8000", "openenv-my-env"
    )
    try:
        url = f"http://{docker_host.docker('port', name, '8000')}"
        wait_for(lambda: answers(f"{url}/health"))
        env = gym.make("openenv/remote", base_url=url)
        assert env.reset()[0] == "Ready"
        assert env.step("done")[0] == "done by user 1000"
        env.close()
        health = ("inspect", "--format", "{{json .State.Health}}", name)
        # The first probe may come before the server is up.
        wait_for(lambda: json.loads(docker_host.docker(*health))["Status"] == "healthy")
    finally:
        docker_host.docker("rm", "--force", name)


@pytest.mark.parametrize(
    ("dockerfile", "cause"),
    [
        (
            "RUN (echo before; echo the reason) >&2; exit 7",
            "[2/2] RUN (echo before; echo the reason) >&2; exit 7 failed: exit code 7\n"
            "    before\n    the reason\n",
        ),
        ("COPY not-there /", '[2/2] COPY not-there / failed: "/not-there" not found'),
        ("FLY away", "unknown instruction: FLY"),
        ("FROM no-such-registry.invalid/image", "the base image no-such-registry.invalid/image"),
    ],
)
def test_the_cause_of_a_failing_build_comes_last(
    dockerfile: str, cause: str, small: Callable[[str], Path]
) -> None:
    failed = openenv("build", str(small(dockerfile)))
    assert failed.returncode == 1
    assert failed.stdout == ""
    before, _, message = failed.stderr.rpartition("Error: ")
    assert before, "Docker's own lines"
    assert message.startswith("The image openenv-small-env was not built: ")
    assert cause in message
    assert message.count("\n") < 20


def test_a_build_takes_arguments_and_another_dockerfile_and_context(
    small: Callable[[str], Path], tmp_path: Path, docker_host: Engine
) -> None:
    folder, context = small("RUN false"), tmp_path / "context"
    context.mkdir()
    (context / "only-here").write_text("from the context")
    (context / ".settings").write_text("taken as it is")
    dockerfile = tmp_path / "Other"
    dockerfile.write_text(
        (folder / "Dockerfile").read_text().replace("RUN false", "")
        + "ARG WHAT=nothing\nARG ENV_NAME=__ENV_NAME__\nCOPY only-here .settings /\n"
        "RUN echo $WHAT of $ENV_NAME > /what; head -c 8 /dev/urandom | md5sum > /when\n"
    )
    arguments = [
        "build", str(folder), "--dockerfile", str(dockerfile), "--context", str(context),
        "--build-arg", "WHAT=a=b", "-t", "others:1",
    ]  # fmt: skip

    def build(*more: str) -> list[str]:
        done = openenv(*arguments, *more)
        assert (done.returncode, done.stdout) == (0, "others:1\n"), done.stderr
        return docker_host.docker("run", "--rm", "others:1", "cat", "/only-here", "/what", "/when").split(
            "\n"
        )

    first, second, third = build(), build(), build("--no-cache")
    assert first[0] == "from the contexta=b of small_env"
    assert first == second, "from the cache"
    assert first != third


def test_the_base_is_built_from_another_python(docker_host: Engine, python_image: str) -> None:
    docker_host.docker("tag", python_image, "another-python:1")
    done = openenv("build", "--base", "-t", "my-base", "--build-arg", "PYTHON_IMAGE=another-python:1")
    assert (done.returncode, done.stdout) == (0, "my-base\n"), done.stderr
    assert docker_host.docker(
        "run", "--rm", "my-base", "sh", "-c", "uv --version; curl --version; id openenv"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--build-arg", "WHAT"], "is not of the form KEY=VALUE"),
        (["--context", "no-such-folder"], "no-such-folder does not exist"),
        (["--dockerfile", "no-such-file"], "no-such-file does not exist"),
        (["--base"], "--base does not accept"),
    ],
)
def test_wrong_usage_says_so(arguments: list[str], message: str, small: Callable[[str], Path]) -> None:
    failed = openenv("build", str(small("RUN true")), *arguments)
    assert failed.returncode == 2
    assert message in failed.stderr


def test_a_folder_without_a_dockerfile_says_where_to_get_one(small: Callable[[str], Path]) -> None:
    folder = small("")
    (folder / "Dockerfile").unlink()
    failed = openenv("build", str(folder))
    assert failed.returncode == 2
    assert "has neither server/Dockerfile nor Dockerfile" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_build_in_the_engine_too(
    number: signal.Signals, small: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    seconds = f"1{number:05}{os.getpid()}"  # which no other run of this test has
    folder = small(f"RUN echo it runs; sleep {seconds}; true")
    build = subprocess.Popen(
        [sys.executable, "-m", "openenv_cli", "build", str(folder)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert build.stderr is not None
        assert any(line.endswith(" it runs\n") for line in build.stderr)
        wait_for(lambda: is_running(seconds))
        assert list(temporary.iterdir())
    finally:
        build.send_signal(number)
        _, errors = build.communicate(timeout=20)
    assert build.returncode == 128 + number
    assert "Traceback" not in errors
    wait_for(lambda: not is_running(seconds), 20)
    assert list(temporary.iterdir()) == []


def is_running(argument: str) -> bool:
    """Whether any process of this machine, and so of its containers, has an argument."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"\0{argument}\0".encode() in file.read_bytes():
                return True
        except OSError:
            continue  # it has ended
    return False


def test_in_a_terminal_it_shows_the_steps_the_size_and_what_to_do_next(small: Callable[[str], Path]) -> None:
    folder = small("RUN sleep 0.1; echo a line of its own")
    leader, follower = pty.openpty()
    build = subprocess.Popen(
        [sys.executable, "-m", "openenv_cli", "build", str(folder)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm"},
    )
    os.close(follower)
    shown = b""
    while build.poll() is None or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                shown += os.read(leader, 65536)
            except OSError:
                break  # the other side was closed
    os.close(leader)
    assert build.wait(20) == 0, shown.decode()
    for text in (
        "Building openenv-small-env",
        "[2/2] RUN sleep 0.1; echo a line of its own",
        " MB, in ",
        "docker run --rm -p 8000:8000 openenv-small-env",
        'gym.make("openenv/remote", base_url="http://localhost:8000")',
    ):
        assert text in shown.decode()
