"""Every command and every code block of the README that `openenv init` writes is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TEMPLATES = {"echo_env": [], "array_env": ["--template", "array"], "chat_env": ["--template", "chat"],
             "cart_env": ["--gym", "CartPole-v1"]}  # fmt: skip


def made(folder: Path, name: str) -> Path:
    command = [sys.executable, "-m", "openenv_cli", "init", name, "-o", str(folder), *TEMPLATES[name]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / name


def blocks(folder: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_code_runs_against_its_server(name: str, tmp_path: Path) -> None:
    folder = made(tmp_path, name)
    with_any_library, with_its_types = blocks(folder, "python")
    with ProcessProvider(str(folder)) as server:
        for code in (with_any_library, with_its_types):
            assert "http://localhost:8000" in code
            code = code.replace("http://localhost:8000", server.base_url)
            said = run(sys.executable, "-c", code, cwd=tmp_path)
    assert "done=False" in said, "the observation that the second block prints"


def test_the_commands_run(tmp_path: Path) -> None:
    folder = made(tmp_path, "echo_env")
    (commands,) = blocks(folder, "bash")
    ways = [line.partition("#")[0].strip() for line in commands.splitlines()]
    serve = "uv run openenv serve"
    # These need an engine and the Hub, and have tests of their own.
    elsewhere = ["uv run openenv build", "uv run openenv push"]
    assert {serve, *elsewhere} <= set(ways)
    assert "# or: uv run server" in commands
    for command in ways:
        if command in (serve, *elsewhere):
            run("sh", "-c", f"{command} --help", cwd=folder)
        elif command == "uv run openenv validate":
            run("sh", "-c", f"{command} --level runtime", cwd=folder)
        else:
            run("sh", "-c", command, cwd=folder)


def test_every_file_that_it_names_is_there(tmp_path: Path) -> None:
    folder = made(tmp_path, "echo_env")
    named = re.findall(r"^\| `([\w./]+)` \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert len(named) == 6
    assert [name for name in named if not (folder / name).is_file()] == []


def test_uv_run_server_sees_what_the_author_changes(tmp_path: Path) -> None:
    folder = made(tmp_path, "echo_env")
    (folder / "server" / "logic").mkdir()
    (folder / "server" / "logic" / "words.py").write_text("WORD = 'first'\n")
    look = "from echo_env.server.logic.words import WORD; print(WORD)"
    python = ["uv", "run", "--quiet", "python", "-c", look]
    assert run(*python, cwd=folder) == "first\n"
    (folder / "server" / "logic" / "words.py").write_text("WORD = 'second'\n")
    os.utime(folder / "server" / "logic" / "words.py", (1, 1))
    assert run(*python, cwd=folder) == "second\n"
