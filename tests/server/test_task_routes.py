"""The routes of environments whose episodes are tasks of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openenv_server import create_app
from pydantic import BaseModel

from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of

TASKS = {"train": ["one", "two", "three"], "hard": ["four"]}


class Split(BaseModel):
    name: str
    type: str


class Library(Counter):
    def list_splits(self) -> list[Any]:
        return ["train", "hard", {"name": "eval", "type": "test"}, Split(name="more", type="train")]

    async def list_tasks(self, split: str) -> list[str]:
        return TASKS[split]

    def num_tasks(self, split: str) -> int:
        return len(TASKS[split])

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        return {"split": split, "text": TASKS[split][index]}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[str]:
        return TASKS[split][start:stop]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(Library, CountAction, CountObservation, env_name="library")) as base_url:
        yield base_url


def test_the_splits_and_tasks(url: str) -> None:
    assert status_of(f"{url}/list_environments") == (200, ["library"])
    assert status_of(f"{url}/library/splits") == (
        200,
        [
            {"name": "train", "type": "train"},
            {"name": "hard", "type": "validation"},
            {"name": "eval", "type": "test"},
            {"name": "more", "type": "train"},
        ],
    )
    assert status_of(f"{url}/Library/tasks", {"split": "train"}) == (
        200,
        {"tasks": ["one", "two", "three"], "env_name": "library"},
    )
    assert status_of(f"{url}/library/num_tasks", {"split": "hard"}) == (200, {"num_tasks": 1})
    assert status_of(f"{url}/library/task", {"split": "train", "index": 1}) == (
        200,
        {"task": {"split": "train", "text": "two"}},
    )
    body = {"split": "train", "start": 1, "stop": None}
    assert status_of(f"{url}/library/task_range", body) == (200, {"tasks": ["two", "three"]})


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/other/tasks", {"split": "train"}, 404, "no environment 'other', only 'library'"),
        ("/library/task", {"split": "hard", "index": 7}, 400, "No such task"),
        ("/library/task", {"split": "hard"}, 422, "index"),
        ("/library/tasks", {"split": "none"}, 500, "KeyError"),
    ],
)
def test_what_is_refused(url: str, path: str, body: Any, status: int, said: str) -> None:
    answered, content = status_of(url + path, body)
    assert answered == status
    assert said in content["message"]


def test_an_environment_without_tasks_says_so() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as url:
        assert status_of(f"{url}/list_environments") == (200, ["Counter"])
        status, content = status_of(f"{url}/counter/splits")
        assert (status, content["message"]) == (
            501,
            "Counter has no list_splits, which environments with tasks have",
        )
