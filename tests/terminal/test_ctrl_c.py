"""Ctrl-C at each stage: the exit code is 130, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.terminal import Terminal

GYM = ("--gym", "CartPole-v1")


@pytest.mark.parametrize(
    ("arguments", "stage"),
    [
        (("serve", *GYM, "--port", "0"), "Ctrl-C stops the server."),
        (("serve", *GYM, "--port", "0", "--workers", "2"), "Ctrl-C stops the server."),
        (("serve", "WORKSHOP", "--port", "0", "--reload"), "Ctrl-C stops the server."),
        (("play", "WORKSHOP"), "Starting"),
        (("play", "WORKSHOP"), "where (left, right): "),
        (("info", "WORKSHOP"), "Starting"),
        (("spaces", "WORKSHOP"), "Starting"),
        (("bench", *GYM, "--sessions", "1"), "Starting a server"),
        (("bench", *GYM, "--sessions", "1", "--seconds", "60"), "1 session for 60 s"),
        (("demo",), "1. A server"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else value,
)
def test_ctrl_c_ends_it_and_leaves_nothing(
    arguments: tuple[str, ...], stage: str, own_folders: Path, workshop: Path
) -> None:
    given = [str(workshop) if argument == "WORKSHOP" else argument for argument in arguments]
    with Terminal(*given) as terminal:
        terminal.wait_for(stage)
        terminal.interrupt()
        assert terminal.end() == 130, terminal.text
        assert terminal.left_behind() == []
    assert "Traceback" not in terminal.text
    assert [path for path in own_folders.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--reload",)], ids=" ".join)
def test_ctrl_c_ends_a_server_that_is_not_up_yet(options: tuple[str, ...], workshop: Path) -> None:
    (workshop / "app.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    with Terminal("serve", workshop, "--port", "0", *options) as terminal:
        terminal.wait_for("importing")
        terminal.interrupt()
        assert terminal.end() == 130
        assert terminal.left_behind() == []
    assert "Traceback" not in terminal.text
    assert "Error" not in terminal.text


def test_ctrl_c_while_register_waits_leaves_the_file_as_it_was(own_folders: Path) -> None:
    import filelock

    from openenv_gym.naming.known import registry_file

    file = registry_file()
    file.parent.mkdir(parents=True)
    file.write_text("# mine\n")
    lock = filelock.FileLock(file.with_name(f".{file.name}.lock"))
    with lock, Terminal("register", "my-env", "--url", "http://localhost:8000") as terminal:
        terminal.wait_for("Waiting for another change")
        terminal.interrupt()
        assert terminal.end() == 130
    assert file.read_text() == "# mine\n"
    assert sorted(path.name for path in file.parent.iterdir()) == [".registry.toml.lock", "registry.toml"]
