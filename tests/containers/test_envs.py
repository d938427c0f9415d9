"""Each example environment is valid as an image, and the sandbox of the coding environment works in one."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import openenv_gym  # noqa: F401 - registers the ids
from tests.containers.conftest import openenv
from tests.support.engine import Engine
from tests.support.waiting import answers, wait_for

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("python_image"),
]
ENVS = Path(__file__).parents[2] / "envs"
ATTACKS = runpy.run_path(str(ENVS / "coding_env" / "tests" / "attacks.py"))
NAMES = sorted(path.parent.name for path in ENVS.glob("*/openenv.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_at_the_container_level(name: str, docker_host: Engine) -> None:
    done = openenv("validate", str(ENVS / name), "--level", "container", "--json")
    report = json.loads(done.stdout)
    objections = [check for check in report["checks"] if check["outcome"] in ("failed", "warning")]
    # No lock file is kept for them: which versions they get is this distribution's business.
    assert [check for check in objections if check["id"] != "files.lock"] == []
    assert done.returncode == 0
    assert report["level"] == "container"
    assert next(mode for mode in report["modes"] if mode["name"] == "docker")["works"]
    assert "validate-" not in docker_host.docker("image", "ls")
    assert docker_host.docker("ps", "--all", "--quiet") == ""


@pytest.fixture(scope="module")
def coding_image(engine: Engine, python_image: str) -> str:
    """The image of the coding environment."""
    built = openenv("build", str(ENVS / "coding_env"), env=engine.environment)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


@contextmanager
def _running(engine: Engine, image: str, *options: str) -> Iterator[tuple[gym.Env[Any, Any], str]]:
    """An environment in a container, and the container's id."""
    container = engine.docker("run", "-d", "-p", "127.0.0.1::8000", *options, image)
    try:
        url = f"http://{engine.docker('port', container, '8000')}"
        wait_for(lambda: answers(f"{url}/health"))
        env = gym.make("openenv/remote", base_url=url)
        yield env, container
        env.close()
    finally:
        engine.docker("rm", "--force", container)


# The default is what a Hugging Face Space runs. Docker denies namespaces, and masks parts of /proc.
OPTIONS = {
    "default": ("landlock", ()),
    "root": ("landlock", ("--user=0",)),
    "namespaces": (
        "namespaces",
        ("--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined"),
    ),
    "masked /proc": ("landlock", ("--security-opt=seccomp=unconfined",)),
}


@pytest.mark.parametrize("how", OPTIONS)
def test_attacks_fail_in_a_container(how: str, engine: Engine, coding_image: str) -> None:
    isolation, options = OPTIONS[how]
    with _running(engine, coding_image, *options) as (env, container):
        outside = "/tmp/home/.ssh"
        engine.docker("exec", container, "mkdir", "-p", outside)
        engine.docker("exec", container, "sh", "-c", f"echo secret > {outside}/file")
        look = ("exec", container, "stat", "-c", "%n %a %u %Y %s", "/tmp/home", outside, f"{outside}/file")
        before = engine.docker(*look)
        _, info = env.reset(options={"tests": "assert add(1, 2) == 3"})
        assert info["isolation"] == isolation
        for name in ATTACKS["NAMES"]:
            if (isolation, name) == ("landlock", "sight"):
                continue
            # Process 1 is the server.
            code = ATTACKS["program"](name, outside=outside, pid=1, port=8000)
            seen = env.step({"code": code, "stdin": ""})[0]
            assert (seen["exit_code"], seen["stderr"]) == (0, ""), (name, seen)
            assert [line for line in seen["stdout"].splitlines() if line.startswith("DONE")] == [], name
            assert "no " in seen["stdout"]
        assert engine.docker(*look) == before
        assert env.step({"code": "print(input())", "stdin": "Hello"})[0]["stdout"] == "Hello\n"
        assert env.step({"code": "def add(a, b): return a + b", "stdin": ""})[1:3] == (1.0, True)


@pytest.mark.parametrize("how", ["default", "namespaces"])
def test_a_program_that_takes_all_it_can_get_is_limited_in_a_container(
    how: str, engine: Engine, coding_image: str
) -> None:
    programs = {
        "time": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "memory": "import os, time\n"
        "for _ in range(4): os.fork() or (b'x' * 200_000_000, time.sleep(60))\n"
        "time.sleep(60)",
        "files": "n = 0\nwhile True: open(f'{n}', 'w').close(); n += 1",
    }
    with _running(engine, coding_image, "-e=CODING_ENV_TIMEOUT_S=5", *OPTIONS[how][1]) as (env, _):
        env.reset()
        for limit, code in programs.items():
            seen, *_, info = env.step({"code": code, "stdin": ""})
            assert info.get("stopped_by") == limit or "No space left" in seen["stderr"], (limit, seen, info)
            env.reset()
        flood = env.step({"code": "for _ in range(100): print('x' * 100_000)", "stdin": ""})[0]
        assert (len(flood["stdout"]), flood["stdout_truncated"], flood["exit_code"]) == (64 << 10, True, 0)
