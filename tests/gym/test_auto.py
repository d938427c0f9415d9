"""Clients and action classes of installed environments, by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from openenv_server import create_app

from openenv_gym.auto import AutoAction, AutoEnv
from openenv_gym.errors import ConfigurationError, EndpointUnreachableError
from openenv_gym.generic_client import GenericAction, GenericEnvClient
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running

CLIENT = """
from openenv_gym.generic_client import GenericEnvClient
from openenv_gym.types import Action

class NightSkyEnv(GenericEnvClient):
    pass

class NightSKYAction(Action):
    amount: int

class OtherAction(Action):
    pass
"""
# Builds a wheel without any package.
BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "openenv_red_env-2.0-py3-none-any.whl"
    info = "openenv_red_env-2.0.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("red_env/__init__.py", "")
        wheel.writestr("red_env/client.py", "class RedAction: pass")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: openenv-red-env\\nVersion: 2.0\\n")
        tags = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def installed(folder: Path, manifest: str | None) -> None:
    package = folder / "night_sky_env"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "client.py").write_text(CLIENT)
    if manifest is not None:
        (package / "openenv.yaml").write_text(manifest)
    information = folder / "openenv_night_sky_env-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: openenv-night_sky-env\nVersion: 1.2\n"
    )


@pytest.fixture
def night_sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, 'spec_version: 1\nname: night_sky_env\ndescription: "Stars"  # at night\n')
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("night_sky_env", "night_sky_env.client"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("night_sky")
@pytest.mark.parametrize("name", ["night_sky", "night-sky", "night_sky_env", "night-sky-env", "Night-Sky"])
def test_an_environment_has_several_spellings(name: str) -> None:
    assert AutoAction.from_env(name)(amount=1).amount == 1
    assert AutoEnv.get_env_class(name).__name__ == "NightSkyEnv"
    info = AutoEnv.get_env_info(name)
    assert info["default_image"] == "night-sky-env:latest"
    assert (info["version"], info["description"], info["spec_version"]) == ("1.2", "Stars", 1)
    assert AutoAction.get_action_info(name)["module"] == "night_sky_env.client"


@pytest.mark.usefixtures("night_sky")
def test_a_client_of_an_installed_environment_uses_a_running_server() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        with AutoEnv.from_env("night-sky", base_url=base_url, message_timeout_s=9) as client:
            assert type(client).__name__ == "NightSkyEnv"
            assert client.reset().done is False
        with AutoEnv.from_hub("my-org/any", base_url=base_url, skip_install=True) as generic:
            assert type(generic) is GenericEnvClient


@pytest.mark.usefixtures("night_sky")
def test_the_installed_environments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    AutoEnv.list_environments()
    AutoAction.list_actions()
    assert capsys.readouterr().out.splitlines() == [
        "night_sky: Stars (openenv-night_sky-env 1.2)",
        "night_sky: NightSkyAction (openenv-night_sky-env)",
    ]


def test_the_manifest_may_name_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "action: OtherAction\nobservation: Missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "night_sky_env.client", raising=False)
    monkeypatch.delitem(sys.modules, "night_sky_env", raising=False)
    assert AutoAction.from_env("night_sky").__name__ == "OtherAction"


@pytest.mark.usefixtures("night_sky")
def test_what_is_not_installed_is_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'night_sky'"):
        AutoEnv.from_env("nightsky")
    with pytest.raises(ConfigurationError, match=r"openenv-blue-env"):
        AutoAction.from_env("blue")
    with pytest.raises(ConfigurationError, match="base_url="):
        AutoEnv.from_env("blue", skip_install=True)
    with pytest.raises(ConnectionError) as refused:
        AutoEnv.from_env("blue", base_url="http://127.0.0.1:9", skip_install=True)
    assert isinstance(refused.value, EndpointUnreachableError)
    assert AutoAction.from_env("blue", skip_install=True) is GenericAction
    for kind in (AutoEnv, AutoAction):
        with pytest.raises(TypeError, match=r"from_env\(name\)"):
            kind()


@pytest.mark.slow
def test_the_package_of_a_space_is_installed_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "spaces" / "my-org" / "red_env"
    space.mkdir(parents=True)
    (space / "backend.py").write_text(BACKEND)
    (space / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    git = ["git", "-C", str(space), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *arguments], check=True)
    uv = shutil.which("uv")
    assert uv is not None
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(tmp_path / "venv")], check=True)
    monkeypatch.setenv("HF_ENDPOINT", f"file://{tmp_path}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    monkeypatch.syspath_prepend(packages)
    with pytest.raises(ConfigurationError, match="trust_remote_code=True"):
        AutoAction.from_env("my-org/red_env")
    monkeypatch.setenv("OPENENV_TRUST_REMOTE_CODE", "1")
    assert AutoAction.from_env("my-org/red_env").__module__ == "red_env.client"
    shutil.rmtree(space)
    assert AutoAction.from_env("my-org/red_env").__name__ == "RedAction"  # it is there
    with pytest.raises(ConfigurationError, match="cannot be installed"):
        AutoAction.from_env("my-org/green_env")
