"""Nothing needs a disk that can be written to, or a user who has a home: containers often have neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from openenv_gym import RemoteEnv

IMPORTS = "import openenv_gym, openenv_server, openenv_cli.main; print('imported')"


def _read_only(*options: str) -> list[str]:
    """The start of a command that runs as another user, who can write to nothing but devices."""
    command = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--die-with-parent"]
    return [*command, "--unshare-user", "--remount-ro", "/dev/shm", *options]


def _runs(command: list[str]) -> bool:
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None or not _runs(_read_only("--uid", "1000")),
    reason="bubblewrap is not installed, or may not make namespaces here",
)

USERS = {
    "of an image": ("--uid", "1000", "--setenv", "HOME", "/tmp"),
    "without a home": ("--uid", "12345", "--unsetenv", "HOME"),
}


@pytest.mark.parametrize("options", USERS.values(), ids=USERS)
def test_a_server_runs_on_a_read_only_disk(options: tuple[str, ...]) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    start = [*_read_only(*options), sys.executable, "-W", "error"]
    done = subprocess.run([*start, "-c", IMPORTS], env=variables, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("imported\n", "")
    command = [*_read_only(*options), sys.executable, "-m", "openenv_cli", "serve", "--gym", "CartPole-v1"]
    with subprocess.Popen(
        [*command, "--port", "0"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            base_url = server.stdout.readline().strip()
            with RemoteEnv(base_url) as env:
                env.reset(seed=1)
                env.step(env.action_space.sample())
        finally:
            server.terminate()
            _, log = server.communicate(timeout=20)
    assert log.startswith("Warning: This server is not found by its name")
    assert len(log.splitlines()) == 1
