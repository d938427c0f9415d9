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


@pytest.mark.integration
def test_the_fields_that_are_left_out_have_defaults(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_text(
        "name: my_env\nversion: 1.2\nvalidation: {reward: {range: [0, 1]}}\n"
    )
    manifest = read_manifest(tmp_path)
    assert (manifest.app, manifest.port, manifest.runtime) == ("server.app:app", 8000, "fastapi")
    assert (manifest.app_module, manifest.app_attribute) == ("server.app", "app")


@pytest.mark.integration
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
            "named 'walker.server.maps'. maps.py is in the folder itself: from ..maps import …",
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


MODELS = (
    "from openenv_server import Action, Observation\nclass Act(Action): pass\nclass Obs(Observation): pass\n"
)
LOGIC = """
IMPORTS
from openenv_server import Environment, State
class Logic(Environment):
    def reset(self): return Obs()
    def step(self, action): return Obs()
    @property
    def state(self): return State()
"""
APP = """
IMPORTS
from openenv_server import create_app
app = create_app(Logic, Act, Obs)
import models, sys
assert sys.modules["models"].Act is Act
assert {vars(m)["Act"] for m in list(sys.modules.values()) if "Act" in vars(m)} == {Act}
"""
IN_A_PACKAGE = "from ..models import Act, Obs\nfrom .logic import Logic"
ABSOLUTE = "from my_env.models import Act, Obs\nfrom my_env.server.logic import Logic"
IN_THE_FOLDER = "from models import Act, Obs\nfrom server.logic import Logic"
EITHER = f"try:\n    {IN_A_PACKAGE}\nexcept ImportError:\n    {IN_THE_FOLDER}".replace(
    "\nfrom .", "\n    from ."
)
LOAD = """
import os, sys
from pathlib import Path
from openenv_server.loading import load_app, load_folder
folder = Path(sys.argv[1])
if sys.argv[2:]:
    os.chdir(sys.argv[2])
    app = load_app(sys.argv[3])
else:
    app = load_folder(folder)
print(app.title)
"""


def write_layout(folder: Path, app_lines: str, logic_line: str, *, has_init: bool = True) -> None:
    (folder / "server").mkdir(parents=True)
    (folder / "models.py").write_text(MODELS)
    (folder / "server" / "logic.py").write_text(LOGIC.replace("IMPORTS", logic_line))
    (folder / "server" / "app.py").write_text(APP.replace("IMPORTS", app_lines))
    if has_init:
        for place in (folder, folder / "server"):
            (place / "__init__.py").write_text("")


def load(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("app_lines", "logic_line"),
    [
        (IN_A_PACKAGE, "from models import Act, Obs"),
        (IN_A_PACKAGE, "from my_env.models import Act, Obs"),
        (ABSOLUTE, "from models import Act, Obs"),
        (ABSOLUTE, "from ..models import Act, Obs"),
        (IN_THE_FOLDER, "from ..models import Act, Obs"),
        (EITHER, "from models import Act, Obs"),
    ],
)
def test_modules_are_the_same_whichever_name_they_are_imported_by(
    tmp_path: Path, app_lines: str, logic_line: str
) -> None:
    write_layout(tmp_path / "my_env", app_lines, logic_line)
    assert load(tmp_path / "my_env") == "Logic"


@pytest.mark.integration
def test_a_folder_may_have_another_name_than_its_package(tmp_path: Path) -> None:
    for number, (name, text) in enumerate(
        [
            ("openenv.yaml", "name: my-env\n"),
            ("pyproject.toml", '[tool.setuptools.package-dir]\n"my_env" = "."\n"my_env.server" = "server"\n'),
        ]
    ):
        folder = tmp_path / f"my-env-main {number}"
        write_layout(folder, ABSOLUTE, "from models import Act, Obs", has_init=False)
        (folder / name).write_text(text)
        assert load(folder) == "Logic"


def test_a_folder_with_the_name_of_a_library_does_not_hide_it(tmp_path: Path) -> None:
    folder = tmp_path / "gymnasium"
    write_layout(folder, IN_A_PACKAGE, "from models import Act, Obs\nimport gymnasium; gymnasium.spaces")
    (folder / "numpy").mkdir()  # data
    assert load(folder) == "Logic"


@pytest.mark.parametrize(("where", "path"), [("my_env", "server.app:app"), (".", "my_env.server.app:app")])
def test_an_import_path_into_a_folder_is_loaded_as_the_folder_is(
    tmp_path: Path, where: str, path: str
) -> None:
    write_layout(tmp_path / "my_env", IN_A_PACKAGE, "from models import Act, Obs")
    assert load(tmp_path, tmp_path / where, path) == "Logic"


def test_a_package_whose_init_needs_what_a_server_lacks_is_served(tmp_path: Path) -> None:
    write_layout(tmp_path / "my_env", IN_A_PACKAGE, "from models import Act, Obs")
    (tmp_path / "my_env" / "__init__.py").write_text("import no_such_library_of_the_trainer\n")
    assert load(tmp_path / "my_env") == "Logic"
