"""From an environment's folder to its application: openenv.yaml, and what goes wrong at import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from openenv_server.manifest import read_manifest

from openenv_gym.errors import ConfigurationError
from tests.support.walker import write_walker


@pytest.fixture
def walker(tmp_path: Path) -> Path:
    """The folder of an environment that is valid."""
    return write_walker(tmp_path)


def test_the_fields_that_are_left_out_have_defaults(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_text(
        "name: my_env\nversion: 1.2\nvalidation: {reward: {range: [0, 1]}}\n"
    )
    manifest = read_manifest(tmp_path)
    assert (manifest.app, manifest.port, manifest.runtime) == ("server.app:app", 8000, "fastapi")
    assert (manifest.app_module, manifest.app_attribute) == ("server.app", "app")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: my env\n", "openenv.yaml:1: name: 'my env' cannot be an environment's name"),
        ("name: a\n\nport: 99999\n", "openenv.yaml:3: port: Input should be less than or equal to 65535"),
        ("name: a\napp: server/app.py\n", "openenv.yaml:2: app: write it as module:attribute"),
        ("name: a\nspec_version: 2\n", "openenv.yaml:2: spec_version: Input should be 1, not 2"),
        ("runtime: fastapi\n", "openenv.yaml:1: name: Field required"),
        ("nmae: a\n", "openenv.yaml:1: nmae: unknown field. Did you mean 'name'?"),
        ("name: a\nprot: 9000\n", "openenv.yaml:2: prot: unknown field. Did you mean 'port'?"),
        ("name: a\nruntme: flask\n", "openenv.yaml:2: runtme: unknown field. Did you mean 'runtime'?"),
        ("name: a\nport: 1\nport: 2\n", "openenv.yaml:3: port: duplicate field"),
        ("name: [\n", "openenv.yaml is not YAML"),
        ("- name\n", "is not a mapping of fields"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "openenv.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as failed:
        read_manifest(tmp_path)
    assert said in str(failed.value)
    assert "nmae" not in text or "Field required" not in str(failed.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "import randon",
            "walker_environment.py:1: ModuleNotFoundError: No module named 'randon'. Check the spelling",
        ),
        (
            "from helpers import x",
            "named 'helpers'. helpers.py is in server/: from .helpers import …",
        ),
        (
            "from .maps import x",
            "named 'server.maps'. maps.py is beside models.py: import it like models",
        ),
        ("1 / 0", "server/walker_environment.py:1: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "server/walker_environment.py:1: SystemExit: 3"),
        ("def broken(:", "server/walker_environment.py:1: SyntaxError"),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_place(walker: Path, line: str, said: str) -> None:
    (walker / "server" / "helpers.py").write_text("x = 1\n")
    (walker / "maps.py").write_text("x = 1\n")
    module = walker / "server" / "walker_environment.py"
    module.write_text(f"{line}\n{module.read_text()}")
    failed = subprocess.run(
        [sys.executable, "-m", "openenv_server", str(walker)], capture_output=True, text=True, timeout=60
    )
    assert failed.returncode == 1
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
