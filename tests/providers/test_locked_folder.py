"""Folders with a uv.lock are served by a Python with their own packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from openenv_gym import GenericEnvClient
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.process import ProcessProvider

UV = os.environ.get("UV") or shutil.which("uv")
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(UV is None, reason="there is no uv")

PROJECT = """\
[project]
name = "counter"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["openenv-gym[{extra}]", "iniconfig"]

[tool.uv]
package = false

[tool.uv.sources]
openenv-gym = {{ path = "{root}", editable = true }}
"""
APP = """\
import os
import sys

import iniconfig
from openenv_server import Action, Environment, Observation, State, create_app


class Ask(Action):
    pass


class Told(Observation):
    prefix: str
    is_served_by_us: bool


class Teller(Environment):
    def reset(self):
        return Told(prefix=sys.prefix, is_served_by_us="openenv_cli" in sys.modules)

    def step(self, action):
        return self.reset()

    @property
    def state(self):
        return State()


app = create_app(Teller, Ask, Told)
"""


def locked(folder: Path, extra: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "openenv.yaml").write_text("name: teller\napp: app:app\n")
    (folder / "app.py").write_text(APP)
    (folder / "pyproject.toml").write_text(PROJECT.format(extra=extra, root=ROOT))
    assert UV is not None
    subprocess.run([UV, "lock", "-q", "--project", folder], check=True)
    return folder


@pytest.mark.parametrize(("extra", "by_us"), [("server", False), ("cli", True)])
def test_it_is_served_with_what_its_lock_names(tmp_path: Path, extra: str, by_us: bool) -> None:
    folder = locked(tmp_path, extra)
    lock = (folder / "uv.lock").read_bytes()
    with ProcessProvider(folder) as provider, GenericEnvClient(provider.base_url) as client:
        told = client.reset().observation
        assert (told["prefix"], told["is_served_by_us"]) == (str(folder / ".venv"), by_us)
        pid = provider.pid
        assert Path(f"/proc/{pid}/cmdline").read_text().startswith(str(folder / ".venv"))
    assert not Path(f"/proc/{pid}").exists()
    assert (folder / "uv.lock").read_bytes() == lock


def test_workers_that_its_packages_cannot_give_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--workers 2 needs openenv-gym\[cli\]"):
        ProcessProvider(locked(tmp_path, "server"), workers=2).launch()


def test_a_lock_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    folder = locked(tmp_path, "server")
    (folder / "uv.lock").write_text("version = 1\nbroken")
    with pytest.raises(
        ConfigurationError, match=r"uv cannot install the packages in .*uv\.lock[^$]*uv\.lock"
    ):
        ProcessProvider(folder).launch()


GUIDE = """from openenv_server import create_app
from ..models import Ask, Told
from .teller import Teller
app = create_app(Teller, Ask, Told)
"""


def test_the_layout_of_the_guide_is_imported_as_without_a_lock(tmp_path: Path) -> None:
    folder = locked(tmp_path / "teller", "server")
    (folder / "server").mkdir()
    models, _, rest = APP.partition("class Teller")
    teller = f"from models import Ask, Told\n{models.split('class Ask')[0]}class Teller{rest}"
    (folder / "models.py").write_text(models)
    (folder / "server" / "teller.py").write_text(teller.partition("\n\napp = ")[0])
    (folder / "server" / "app.py").write_text(GUIDE)
    (folder / "openenv.yaml").unlink()
    (folder / "app.py").unlink()
    with ProcessProvider(folder) as provider, GenericEnvClient(provider.base_url) as client:
        assert client.reset().observation["prefix"] == str(folder / ".venv")
