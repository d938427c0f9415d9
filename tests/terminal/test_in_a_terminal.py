"""The commands of those who use environments, as a person meets them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from openenv_cli.bench import COLUMNS as COLUMN_NAMES

from openenv_gym.providers.process import ProcessProvider
from tests.support.terminal import COLUMNS, Terminal

Serve = Callable[[str], str]


def shown(*arguments: str | Path, code: int = 0, **env: str) -> Terminal:
    """A command that has ended, with nothing wider than the terminal."""
    with Terminal(*arguments, **env) as terminal:
        assert terminal.end() == code, terminal.text
    assert max(map(len, terminal.rows)) <= COLUMNS, terminal.text
    assert "Traceback" not in terminal.text
    return terminal


def test_list_shows_each_name_with_its_answer_and_its_source(
    own_folders: Path, serve_gym: Serve, workshop: Path
) -> None:
    shown("register", "far-away", "--url", serve_gym("CartPole-v1"))
    shown("register", "a-folder", "--path", workshop)
    listed = shown("list")
    assert re.search(r"openenv/far-away +healthy, \d+ ms, 0 of 64 sessions", listed.text)
    assert re.search(r"openenv/a-folder +starts on demand", listed.text)
    assert "\n    base_url, known from registry.toml" in listed.text


def test_info_shows_what_an_environment_is(workshop: Path) -> None:
    said = shown("info", workshop)
    words = " ".join(said.text.split())
    for fact in ("workshop", "Builds.", "healthy", "0 of 64", "not needed", "is_fast: boolean"):
        assert fact in words
    assert "render modes        rgb_array" in said.text


def test_spaces_are_cut_to_the_terminal(workshop: Path) -> None:
    said = shown("spaces", workshop)
    assert "…" in said.text
    command = [sys.executable, "-m", "openenv_cli", "spaces", str(workshop)]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "…" not in piped.stdout
    assert max(map(len, piped.stdout.splitlines())) > COLUMNS


def test_bench_is_a_table_with_whole_headings(serve_gym: Serve) -> None:
    said = shown("bench", serve_gym("CartPole-v1"), "--sessions", "1,2", "--seconds", "0.2")
    assert [heading for heading in COLUMN_NAMES if heading not in said.text] == []


def test_an_error_is_coloured_and_broken_between_words() -> None:
    said = shown("info", "http://127.0.0.1:9", code=4)
    assert said.text.startswith("Error: Nothing answers at http://127.0.0.1:9")
    assert said.has_colour
    assert not shown("info", "http://127.0.0.1:9", code=4, NO_COLOR="1").has_colour


def test_serve_shows_how_to_use_it_here_and_elsewhere(own_folders: Path) -> None:
    for host, is_elsewhere in (("127.0.0.1", False), ("0.0.0.0", True)):
        with Terminal("serve", "--gym", "CartPole-v1", "--port", "0", "--host", host) as terminal:
            terminal.wait_for("Ctrl-C stops the server.")
            terminal.interrupt()
            assert terminal.end() == 130
        assert max(map(len, terminal.rows)) <= COLUMNS
        assert 'gym.make("openenv/CartPole-v1")' in terminal.text
        assert 'gym.make("openenv/remote", base_url="http://127.0.0.1:' in terminal.text
        assert "/docs" in terminal.text
        assert terminal.text.count("gym.make(") == 2 + is_elsewhere
        assert ("From other machines" in terminal.text) == is_elsewhere
        assert ("needs no key" in terminal.text) == is_elsewhere


def test_the_demo_shows_a_panel_for_each_result() -> None:
    said = shown("demo")
    panels = re.findall(r"^╭─ +(.+?) +─+╮$", said.text, re.MULTILINE)
    assert panels == ["1. A server", "2. Equality", "3. Cuts", "4. Speed", "5. Training"]
    assert "bit for bit" in said.text
    assert said.has_colour


def test_a_server_that_asks_for_a_key_is_not_called_healthy(
    own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", "right")
    with ProcessProvider(gym="CartPole-v1") as server:
        shown("register", "locked", "--url", server.base_url)
        assert "$OPENENV_API_KEY is accepted" in shown("info", server.base_url).text
        assert "healthy" in shown("list").text
        for key, finding in (("", "needs a key"), ("wrong", "rejects the key")):
            listed = shown("list", OPENENV_API_KEY=key)
            assert finding in listed.text
            assert "healthy" not in listed.text
            for command in (("info",), ("spaces",), ("bench", "--sessions", "1"), ("play",)):
                refused = shown(*command, server.base_url, code=5, OPENENV_API_KEY=key)
                assert "api_key=" in " ".join(refused.text.split())


def test_an_errors_first_word_is_a_link_to_its_section_and_not_in_a_pipe() -> None:
    said = shown("info", "http://127.0.0.1:1", code=4)
    link = "https://openenv-gym.github.io/openenv-gym/errors/#endpointunreachableerror"
    assert re.search(rf"\x1b\]8;[^;]*;{re.escape(link)}\x1b\\.*Error:", said.shown)
    assert link not in said.text
    command = [sys.executable, "-m", "openenv_cli", "info", "http://127.0.0.1:1"]
    piped = subprocess.run(command, capture_output=True, text=True)
    assert piped.stderr.startswith("Error: ")
    assert link not in piped.stderr
