"""Links in a folder: what they lead to is copied only if it is in the folder and is not left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from openenv_cli.bundle import bundled
from openenv_cli.files import IgnoreRules
from openenv_cli.links import link_problems

from openenv_gym.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with nothing to lock."""
    folder = tmp_path / "my_env"
    folder.mkdir()
    return folder


def secrets_outside(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "id_rsa").write_text("hidden")
    (folder / "assets").mkdir()
    (folder / ".env").write_text("TOKEN=hidden")
    (folder / "private").mkdir()
    (folder / "private" / "a.txt").write_text("hidden")
    (folder / ".gitignore").write_text("private/\n")


LEAKS = {
    "weights.bin": "../outside/id_rsa",
    "assets/weights.bin": "../../outside/id_rsa",
    "data": "../outside",
    "first": "second",
    "config.txt": ".env",
    "public": "private",
    "public.txt": "private/a.txt",
    "passwords": "/etc/passwd",
    "zeros": "/dev/zero",
    "dangling": "../outside/nothing",
    "loop": "loop",
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("is_linked", [False, True], ids=["folder", "link to the folder"])
def test_links_that_lead_out_or_to_what_is_left_out_are_refused(
    name: str, is_linked: bool, folder: Path, tmp_path: Path
) -> None:
    secrets_outside(folder)
    (folder / "second").symlink_to("../outside/id_rsa")
    if name != "first":
        (folder / "second").unlink()
    (folder / name).symlink_to(LEAKS[name])
    where = folder
    if is_linked:
        where = tmp_path / "linked"
        where.symlink_to(folder)
    with pytest.raises(ConfigurationError, match=f"{name}|second"), bundled(where):
        pass
    assert list(link_problems(folder, IgnoreRules(folder)))
    with bundled(where, exclude=[name, "second"]) as bundle:
        assert "hidden" not in "".join(path.read_text() for path in bundle.rglob("*") if path.is_file())


def test_links_in_a_folder_that_is_left_out_do_not_matter(folder: Path) -> None:
    secrets_outside(folder)
    (folder / "private" / "link").symlink_to("../../outside/id_rsa")
    with bundled(folder):
        assert not list(link_problems(folder, IgnoreRules(folder)))
