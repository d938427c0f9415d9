"""The guide's own code, laid out as the guide says, served, and driven by the guide's own client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider
from tests.support.processes import serving

GUIDE = Path(__file__).parents[3] / "shared" / "guide" / "building-an-environment.md"
pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not beside this repository")

MANIFEST = """\
spec_version: 1
name: my_env
type: space
runtime: fastapi
app: server.app:app
port: 8000
"""


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def block(first_line: str, which: int = 0) -> str:
    """A block of the guide, found by the line that it begins with."""
    return [text for text in python_blocks() if text.startswith(first_line)][which]


@pytest.fixture
def my_env(tmp_path: Path) -> Path:
    """The environment of the guide, in its layout, with the slips mended that are the guide's own."""
    folder = tmp_path / "envs" / "my_env"
    (folder / "server").mkdir(parents=True)
    (folder / "openenv.yaml").write_text(MANIFEST)
    (folder.parent / "__init__.py").write_text("")
    (folder / "server" / "__init__.py").write_text("")
    # The guide's last block imports both from the package itself.
    (folder / "__init__.py").write_text("from .client import MyEnv\nfrom .models import MyAction\n")
    # `MyState` is imported by the client and never defined.
    models = block("# models.py") + "\n\nfrom openenv.core.env_server.types import State as MyState\n"
    (folder / "models.py").write_text(models)
    # `_execute_command` is called and never defined.
    logic = block("# server/my_environment.py") + textwrap.indent(
        "\ndef _execute_command(self, command):\n    return f'did {command}'\n", "    "
    )
    (folder / "server" / "my_environment.py").write_text(logic)
    (folder / "server" / "app.py").write_text(block("# server/app.py"))
    # The client uses `State` and does not import it.
    client = "from openenv.core.env_server.types import State\n" + block("# client.py")
    (folder / "client.py").write_text(client)
    return folder


def run_the_guides_client(folder: Path, base_url: str) -> str:
    """The guide's last block, with the server's own port, and without the lines for Docker and the Hub."""
    code = block("from envs.my_env import").replace("http://localhost:8000", base_url)
    lines = [line for line in code.splitlines() if "from_docker_image" not in line and "from_hub" not in line]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=folder.parents[1],
        env={**os.environ, "PYTHONPATH": str(folder.parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_of_the_guide_is_known_to_this_test() -> None:
    beginnings = [text.splitlines()[0] for text in python_blocks()]
    assert beginnings == [
        "# models.py",
        "# server/my_environment.py",
        "# server/app.py",
        "# server/app.py",
        "# client.py",
        "from envs.my_env import MyAction, MyEnv",
    ]


def check(folder: Path) -> None:
    with serving(folder / "closed", str(folder)) as server:
        out = run_the_guides_client(folder, server.base_url).splitlines()
        assert out[:3] == ["Ready", "did test", "True"]
        assert re.fullmatch(r"[0-9a-f-]{36}", out[3])
        assert out[4] == "1"

        import gymnasium as gym

        import openenv_gym  # noqa: F401 - registers the ids

        env = gym.make("openenv/my_env")
        assert list(env.action_space.spaces) == ["command", "parameters"]  # type: ignore[attr-defined]
        assert list(env.observation_space.spaces) == ["result", "success"]  # type: ignore[attr-defined]
        assert env.reset()[0] == {"result": "Ready", "success": 1}
        observation, reward, terminated, truncated, _ = env.step({"command": "go", "parameters": '{"a":1}'})
        assert observation == {"result": "did go", "success": 1}
        assert (reward, terminated, truncated) == (1.0, False, False)
        env.step(env.action_space.sample())
        env.close()


@pytest.mark.integration
def test_the_guide_as_written(my_env: Path) -> None:
    """`from ..models import …` in the application, which needs it to be in a package."""
    check(my_env)


def test_the_guide_started_as_its_image_starts_it(my_env: Path) -> None:
    """``server.app:app`` from inside the folder, where ``from ..models`` cannot work: written without it."""
    app = my_env / "server" / "app.py"
    app.write_text(
        app.read_text().replace("from ..models", "from models").replace("from .my_", "from server.my_")
    )
    check(my_env)


def test_the_guides_factory_function(my_env: Path) -> None:
    (my_env / "server" / "app.py").write_text(block("# server/app.py", 1))
    logic = my_env / "server" / "my_environment.py"
    # The second form of the guide passes arguments that its class does not take.
    logic.write_text(
        logic.read_text().replace("def __init__(self):", "def __init__(self, api_key, timeout):")
    )
    check(my_env)


def test_an_environments_classes_are_one_however_they_are_imported(my_env: Path) -> None:
    """The application imports ``..models`` and the environment ``models``: an isinstance must hold."""
    logic = my_env / "server" / "my_environment.py"
    logic.write_text(
        logic.read_text().replace(
            "        result = self._execute_command",
            "        assert isinstance(action, MyAction)\n        result = self._execute_command",
        )
    )
    check(my_env)


def test_folders_that_cannot_be_served_say_why(tmp_path: Path) -> None:
    from openenv_gym.errors import ConfigurationError

    (tmp_path / "openenv.yaml").write_text("name: [")
    with pytest.raises(ConfigurationError, match="is not YAML"):
        ProcessProvider(str(tmp_path)).launch()
    (tmp_path / "openenv.yaml").write_text(MANIFEST)
    with pytest.raises(ConfigurationError, match=r"importing server\.app failed: ModuleNotFoundError"):
        ProcessProvider(str(tmp_path)).launch()
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "app.py").write_text("app = 5\n")
    with pytest.raises(ConfigurationError, match="has no application named 'app'"):
        ProcessProvider(str(tmp_path)).launch()
