"""``openenv list --hub``: a process with the real client, and a stand-in for the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.hub_environment import openenv
from tests.support.hub import TOKEN, StandIn
from tests.support.hub.faults import Fault
from tests.support.terminal import Terminal


def publish(hub: StandIn, name: str, *, tags: tuple[str, ...] = ("openenv",), **facts: object) -> None:
    hub.state.add_user("hf_zoe", "zoe")
    space = hub.state.create(name, hub.state.user("hf_zoe"), {"sdk": facts.pop("sdk", "docker")})
    space.tags = tags
    for fact, value in facts.items():
        setattr(space, fact, value)


@pytest.fixture
def published(hub: StandIn) -> StandIn:
    publish(hub, "zoe/chess_env", likes=3, stages=["RUNNING"], card={"title": "Chess"})
    card = {"title": "Go", "short_description": "The game\nof\x1b[2J go"}
    publish(hub, "zoe/go_env", likes=12, stages=["SLEEPING"], card=card)
    publish(hub, "zoe/other-chess", likes=1, stages=["BUILD_ERROR"])
    publish(hub, "zoe/a_model", tags=("transformers",))
    publish(hub, "zoe/a_page", sdk="static")
    publish(hub, "zoe/hidden_env", private=True)
    return hub


@pytest.mark.parametrize("token", [None, TOKEN], ids=["no token", "a token"])
def test_published_environments_are_found_by_their_tag(
    published: StandIn, tmp_path: Path, token: str | None
) -> None:
    done = openenv(published, tmp_path, "list", "--hub", token=token)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["zoe/go_env", "https://zoe-go-env.hf.space", "sleeping", "12", "Go: The game of go"],
        ["zoe/chess_env", "https://zoe-chess-env.hf.space", "running", "3", "Chess"],
        ["zoe/other-chess", "https://zoe-other-chess.hf.space", "build error", "1", ""],
    ]


@pytest.mark.parametrize(
    ("query", "names"), [("chess", ["zoe/chess_env", "zoe/other-chess"]), ("go_env", ["zoe/go_env"])]
)
def test_a_query_narrows_them(published: StandIn, tmp_path: Path, query: str, names: list[str]) -> None:
    done = openenv(published, tmp_path, "list", "--hub", query)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == names


@pytest.mark.integration
def test_nothing_found_is_no_error(published: StandIn, tmp_path: Path) -> None:
    done = openenv(published, tmp_path, "list", "--hub", "poker")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No Space with the tag openenv whose name has 'poker' was found." in done.stderr


def test_all_pages_are_read_up_to_the_limit(hub: StandIn, tmp_path: Path) -> None:
    for number in range(103):
        publish(hub, f"zoe/env-{number}", likes=number)
    done = openenv(hub, tmp_path, "list", "--hub")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        f"zoe/env-{number}" for number in range(102, 2, -1)
    ]
    assert "These are the 100 with the most likes." in done.stderr


def test_a_query_without_hub_says_what_to_run(hub: StandIn, tmp_path: Path) -> None:
    done = openenv(hub, tmp_path, "list", "chess game")
    assert done.returncode == 2
    assert "Run: openenv list --hub 'chess game'" in done.stderr


def test_offline_says_so(hub: StandIn, tmp_path: Path) -> None:
    offline = openenv(hub, tmp_path, "list", "--hub", HF_HUB_OFFLINE="1")
    assert offline.returncode == 1
    assert "HF_HUB_OFFLINE disables access to the Hub. Unset it" in offline.stderr
    nowhere = openenv(hub, tmp_path, "list", "--hub", HF_ENDPOINT="http://127.0.0.1:9")
    assert nowhere.returncode == 1
    assert "at http://127.0.0.1:9: the connection to the Hub failed" in nowhere.stderr
    assert "Traceback" not in offline.stderr + nowhere.stderr


@pytest.mark.parametrize(
    ("status", "message"),
    [(429, "too many requests"), (503, "the Hub failed"), (401, "the Hub does not accept the token")],
)
def test_a_hub_that_refuses_is_named(published: StandIn, tmp_path: Path, status: int, message: str) -> None:
    published.faults.append(Fault("GET /api/spaces$", status, times=10))
    done = openenv(published, tmp_path, "list", "--hub")
    assert done.returncode == 1
    assert message in done.stderr
    assert TOKEN not in done.stderr


def test_a_terminal_shows_the_descriptions_and_how_to_use_one(published: StandIn, tmp_path: Path) -> None:
    with Terminal("list", "--hub", **published.variables(tmp_path)) as terminal:
        assert terminal.end() == 0
    assert "zoe/go_env  sleeping, 12 likes\n" in terminal.text
    assert "    Go: The game of go\n" in terminal.text
    assert "zoe/other-chess  build error, 1 like\n" in terminal.text
    assert 'Use one: gym.make("openenv/remote", space="zoe/go_env")' in terminal.text
