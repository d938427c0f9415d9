"""Each block of Python in docs/ runs, page by page, with a server where the page has an address."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app, vector_factory

import openenv_gym
from openenv_gym.providers.process import ProcessProvider
from tests.docs.blocks import DOCS, Block, blocks_of, pages
from tests.support.servers import running

ADDRESS = "http://localhost:8000"
TESTS = Path(__file__).parents[1]
# Pages whose blocks another test runs. Those of docs/libraries/ train, in the tier of the trainers.
ELSEWHERE = {
    "build.md": "docs/test_build_page.py",
    "failures.md": "docs/test_failures.py",
    "index.md": "trainers/test_sb3_training.py",
    "performance.md": "docs/test_pipelining.py",
    "playground.md": "browser/test_documented.py",
}
HERE = [page for page in pages() if page not in ELSEWHERE and not page.startswith("libraries/")]
# They need what a test cannot have: an account, a cluster, a Docker engine. Their syntax is checked.
MOST_THAT_DO_NOT_RUN = 7


def test_few_blocks_are_not_run() -> None:
    left_out = [block for blocks in pages().values() for block in blocks if block.reason]
    assert len(left_out) <= MOST_THAT_DO_NOT_RUN
    for block in left_out:
        compile(block.code, block.reason, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_each_page_is_run_by_a_test() -> None:
    for page, test in ELSEWHERE.items():
        assert page in (TESTS / test).read_text()
    recipes = "\n".join(path.read_text() for path in (TESTS / "trainers").rglob("*.py"))
    recipes += (TESTS / "integrations" / "test_rollout.py").read_text()
    libraries = [page for page in pages() if page.startswith("libraries/")]
    assert libraries
    assert [page for page in libraries if page.removeprefix("libraries/") not in recipes] == []


@pytest.mark.parametrize("page", HERE)
def test_the_blocks_of_a_page_run(
    page: str, serve_gym: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_blocks(page, serve_gym, tmp_path, monkeypatch)


def run_blocks(
    page: str, serve_gym: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the blocks of a page one after another, as its reader would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {"gym": gym, "openenv_gym": openenv_gym}
    with ExitStack() as stack:
        base_url = ""
        for block in blocks_of(DOCS / page):
            if block.reason or (page, block.file_name) in TESTED_APART:
                continue
            if block.file_name:
                (tmp_path / block.file_name).write_text(block.code)
                module = importlib.import_module(block.file_name.removesuffix(".py"))
                base_url = stack.enter_context(running(module.app))
                play(base_url)
                continue
            if block.context:
                address, more = stack.enter_context(CONTEXTS[block.context]())
                names |= more
            else:
                address = base_url or serve_gym("CartPole-v1")
            run(block, page, address, names)
            if "app" in names:
                base_url = stack.enter_context(running(names.pop("app")))
                play(base_url)
        for made in names.values():
            if isinstance(made, gym.Env | gym.vector.VectorEnv):
                with contextlib.suppress(openenv_gym.OpenEnvError):
                    made.close()


def run(block: Block, page: str, address: str, names: dict[str, Any]) -> None:
    """Run a block, which may have an ``await`` at its top, with another address than its own."""
    text = block.code.replace(ADDRESS, address)
    waiting = eval(compile(text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(waiting):

        async def wait() -> None:
            await waiting

        asyncio.run(wait())


def play(base_url: str) -> None:
    with gym.make("openenv/remote", base_url=base_url) as env:
        env.action_space.seed(1)
        for _ in range(3):  # episodes of one step, because a counter of any numbers overflows
            env.reset(seed=1)
            assert env.step(env.action_space.sample())[0] in env.observation_space


Context = Iterator[tuple[str, dict[str, Any]]]


@contextlib.contextmanager
def many_cart_poles() -> Context:
    factory, models = vector_factory(
        lambda num_envs: gym.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")
    )
    app = create_app(factory, models.action, models.observation, max_concurrent_envs=4096)
    with running(app) as base_url:
        yield base_url, {}


@contextlib.contextmanager
def environment_of_arrays() -> Context:
    gym.register("MyEnv-v0", entry_point=lambda: gym.make("CartPole-v1").unwrapped)
    try:
        yield "", {"to_array": lambda observation: np.zeros(16)}
    finally:
        gym.registry.pop("MyEnv-v0")


@contextlib.contextmanager
def pistons() -> Context:
    keywords = {"env": "butterfly/pistonball-v6", "n_pistons": 4, "max_cycles": 5}
    with ProcessProvider(gym="PettingZoo-v0", gym_kwargs=keywords) as server:
        yield server.base_url, {}


@contextlib.contextmanager
def async_vector_env() -> Context:
    with ProcessProvider(gym="CartPole-v1") as server:
        yield server.base_url, {"AsyncVectorEnv": gym.vector.AsyncVectorEnv}


def names_of_the_counter() -> dict[str, Any]:
    """What the environment of docs/quickstart.md defines."""
    (block,) = [block for block in blocks_of(DOCS / "quickstart.md") if block.file_name == "counter.py"]
    names: dict[str, Any] = {}
    exec(block.code, names)
    return names


@contextlib.contextmanager
def counter() -> Context:
    with running(names_of_the_counter()["app"]) as base_url:
        yield base_url, {}


@contextlib.contextmanager
def classes() -> Context:
    names = names_of_the_counter()
    yield "", {"MyEnv": names["Counter"], "MyAction": names["Add"], "MyObservation": names["Total"]}


CONTEXTS: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[str, dict[str, Any]]]]] = {
    "many cart-poles": many_cart_poles,
    "an environment of arrays": environment_of_arrays,
    "pistons": pistons,
    "AsyncVectorEnv": async_vector_env,
    "a counter": counter,
    "the classes of an environment": classes,
}
# `providers/test_documents.py` runs them under pytest.
TESTED_APART = {("providers.md", "thread_provider.py"), ("providers.md", "test_thread_provider.py")}
