"""``openenv.yaml`` is the author's, and may be anybody's: it costs little, and ends in a clear error."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from openenv_cli.hub.space_files import complete_card
from openenv_server.manifest import read_manifest

from openenv_gym.errors import ConfigurationError
from openenv_gym.manifest import application

LAUGHS = "".join(
    f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" if level else "l0: &l0 [lol]\n"
    for level in range(12)
)
HOSTILE = {
    "20,000 lists": ("name: " + "[" * 20_000, "nested too deeply"),
    "20,000 closed lists": ("name: " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
    "20,000 maps": ("name: " + "{a: " * 15_000, "nested too deeply"),
    "nested blocks": ("".join(f"{' ' * level}a:\n" for level in range(350)), "Field required"),
    "an alias bomb": (LAUGHS + "name: *l11\n", "aliases stand for too much"),
    "an alias bomb in an unknown field": (f"name: x\n{LAUGHS}", "aliases stand for too much"),
    "a bomb of merges": (
        "a: &a {x: 1}\n"
        + "".join(
            f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]}}\n" for n in range(12)
        ),
        "aliases stand for too much",
    ),
    "an alias of itself": ("name: &a [*a]\n", "aliases stand for too much"),
    "a large file": ("# " + "x" * 1_000_000, "too large"),
    "large aliases": (f"a: &a {'x' * 60_000}\nb: [{'*a, ' * 100}]\nname: x\n", "aliases stand for too much"),
    "a large number": (f"name: x\nport: {'9' * 60_000}\n", "not YAML"),
    "a date that is none": ("name: x\nwhen: 2024-99-99\n", "not YAML"),
    **{
        f"a wrong value for {tag}": (f"name: x\nmore: !!{tag} {value}\n", "not YAML")
        for tag, value in {"int": '""', "float": '""', "bool": "maybe", "timestamp": "then"}.items()
    },
    "a large number in hexadecimal": (f"name: x\nport: 0x{'f' * 60_000}\n", "not YAML"),
    "a large number to the base 60": (f"name: x\nport: 1{':1' * 30_000}\n", "not YAML"),
    "a key that is a list": ("? [a, b]\n: c\nname: x\n", "not YAML"),
    "a Python object": ("name: !!python/object/apply:os.system [true]\n", "not YAML"),
    "many repeated fields": ("a:\n" * 20_000, "duplicate field"),
    "a long value": (f"name: {'!' * 60_000}\n", "cannot be an environment's name|not YAML"),
    "no text": ("\0", "not YAML"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_manifest_is_an_error_and_costs_little(tmp_path: Path, kind: str) -> None:
    text, reason = HOSTILE[kind]
    (tmp_path / "openenv.yaml").write_text(text)
    (tmp_path / "server").mkdir()
    begin = time.process_time()
    with pytest.raises(ConfigurationError, match=reason):
        read_manifest(tmp_path)
    used = time.process_time() - begin
    print(f"{kind}: {used:.3f} s CPU")
    assert used < 10


def test_aliases_of_everyday_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_text("base: &base {a: 1}\nname: my_env\nmore: {<<: *base, b: *base}\n")
    assert read_manifest(tmp_path).name == "my_env"


def test_a_manifest_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_bytes(b"name: \xff\n")
    for read in (read_manifest, application):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read(tmp_path)


@pytest.mark.parametrize("kind", ["20,000 lists", "an alias bomb"])
def test_a_hostile_readme_is_an_error_too(kind: str) -> None:
    text, reason = HOSTILE[kind]
    with pytest.raises(ConfigurationError, match=reason):
        complete_card(f"---\n{text}\n---\n", title="x", port=8000, has_interface=False)


def test_a_manifest_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "app.py").touch()
    os.mkfifo(tmp_path / "openenv.yaml")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_manifest(tmp_path)
