"""`openenv register`: the user's registry file, changed whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from openenv_gym.naming import known

OPENENV = [sys.executable, "-m", "openenv_cli"]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry file of one test, which is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return known.registry_file()


def register(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OPENENV, "register", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def environments(registry: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(registry.read_text()).get("environments", {})
    return found


def test_a_name_for_each_kind_of_source(registry: Path) -> None:
    author = Path(__file__).parents[1] / "faults" / "author"
    for arguments in (
        ("served", "--url", "http://localhost:8000/"),
        ("folder", "--path", os.path.relpath(author)),
        ("cart", "--gym", "CartPole-v1"),
        ("imported", "--app", "my_env.server.app:app"),
        ("boxed", "--image", "ghcr.io/my-org/my-env:latest"),
        ("public_one", "--space", "my-org/my-env"),
    ):
        done = register(*arguments)
        assert done.returncode == 0, done.stderr
        assert 'gym.make("openenv/' in done.stdout
    assert environments(registry) == {
        "served": {"base_url": "http://localhost:8000"},
        "folder": {"path": str(author)},
        "cart": {"gym": "CartPole-v1"},
        "imported": {"app": "my_env.server.app:app"},
        "boxed": {"image": "ghcr.io/my-org/my-env:latest"},
        "public-one": {"space": "my-org/my-env"},
    }
    kinds = {server.name: server.source.kind for server in known.known_servers()}
    assert kinds["public-one"] == "space"


@pytest.mark.integration
def test_a_taken_name_is_refused_and_force_replaces_it(registry: Path) -> None:
    assert register("my-env", "--url", "http://one:1").returncode == 0
    assert register("my_env", "--url", "http://one:1").returncode == 0, "it is the same"
    refused = register("my_env", "--space", "my-org/my-env")
    assert refused.returncode == 2
    assert "my-env is taken by the base_url http://one:1" in refused.stderr
    assert "--force" in refused.stderr
    assert register("my_env", "--space", "my-org/my-env", "--force").returncode == 0
    assert environments(registry) == {"my-env": {"space": "my-org/my-env"}}
    assert register("my_env", "--remove").returncode == 0
    assert environments(registry) == {}
    gone = register("my_env", "--remove")
    assert gone.returncode == 2
    assert "my_env is not in" in gone.stderr


def test_comments_and_what_else_is_in_the_file_stay(registry: Path) -> None:
    before = (
        "# My environments\n\n"
        '[environments.mine]  # the good one\nbase_url = "http://mine:1"  # by the window\n\n'
        "[other]\nkept = true\n"
    )
    registry.parent.mkdir(parents=True)
    registry.write_text(before)
    registry.chmod(0o600)
    assert register("new", "--url", "http://new:2").returncode == 0
    assert set(environments(registry)) == {"mine", "new"}
    assert register("new", "--remove").returncode == 0
    after = registry.read_text()
    assert [line for line in after.splitlines() if line] == [line for line in before.splitlines() if line]
    assert registry.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_a_link_stays_one(registry: Path, tmp_path: Path) -> None:
    kept_elsewhere = tmp_path / "dotfiles.toml"
    kept_elsewhere.write_text("")
    registry.parent.mkdir(parents=True)
    registry.symlink_to(kept_elsewhere)
    assert register("new", "--url", "http://new:2").returncode == 0
    assert registry.is_symlink()
    assert set(environments(kept_elsewhere)) == {"new"}


@pytest.mark.parametrize("broken", ["[environments", "environments = 1\n", "\x00"])
def test_a_broken_file_is_left_as_it_is_and_said_once(broken: str, registry: Path) -> None:
    registry.parent.mkdir(parents=True)
    registry.write_text(broken)
    failed = register("new", "--url", "http://new:2")
    assert failed.returncode == 2
    assert failed.stderr.count("is not a registry file") == 1
    assert registry.read_text() == broken
    listed = subprocess.run([*OPENENV, "list"], capture_output=True, text=True, check=True)
    assert listed.stderr.count("is not a registry file") == 1
    assert "Traceback" not in listed.stderr


def test_of_many_at_once_none_is_lost(registry: Path) -> None:
    names = [f"env-{number}" for number in range(8)]
    under_way = [
        subprocess.Popen([*OPENENV, "register", name, "--url", f"http://{name}:1"], stdout=subprocess.DEVNULL)
        for name in names
    ]
    assert [process.wait(timeout=60) for process in under_way] == [0] * len(names)
    assert sorted(environments(registry)) == names
    assert {path.name for path in registry.parent.iterdir()} == {"registry.toml", ".registry.toml.lock"}


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("new",), "exactly one of --url, --path, --gym"),
        (("new", "--url", "http://one", "--space", "a/b"), "exactly one of --url, --path, --gym"),
        (("new", "--url", "localhost"), "is not a base URL"),
        (("new", "--path", "/"), "has neither openenv.yaml nor server/app.py"),
        (("new", "--path", "/no/such"), "No such folder: /no/such"),
        (("new", "--space", "alone"), "OWNER/NAME"),
        (("new", "--image", "not an image"), "image must be the name of an image"),
        (("new", "--remove", "--force"), "--remove takes no other option"),
        (("remote", "--url", "http://one"), "is reserved"),
        (("a/b", "--url", "http://one"), "cannot be an environment's name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_registered_says_what_can(
    arguments: tuple[str, ...], advice: str, registry: Path
) -> None:
    failed = register(*arguments)
    assert failed.returncode == 2
    assert advice in failed.stderr
    assert not registry.exists()
