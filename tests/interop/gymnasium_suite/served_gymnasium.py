"""A pytest plugin that runs Gymnasium's own tests with our environments in the place of its own.

Each environment that a test makes is served over a real socket, and the test gets the remote one: from
``gymnasium.make``, from `SyncVectorEnv` and `AsyncVectorEnv`, and from the tests' own `GenericTestEnv`. Tests
that need the environment in their process are in ``in_process.txt``, each with the reason, and are skipped.

It is not imported as a part of our tests, since Gymnasium's package of tests has the same name.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.spaces import Space
from openenv_server import create_app, gymnasium_factory
from openenv_server.gymnasium_environment import GymnasiumEnvironment
from openenv_server.sessions.session import Session

import openenv_gym
from openenv_gym.errors import LocalAttributeError, SchemaError

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("our_servers", HERE.parents[1] / "support" / "servers.py")
assert _spec is not None
assert _spec.loader is not None
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)

MakeEnv = Callable[[], gym.Env[Any, Any]]

make_here = gym.make
running = ExitStack()  # the servers of the test that runs
_thread = threading.local()


@contextmanager
def in_this_process() -> Iterator[None]:
    """Within it, this thread makes the environments themselves."""
    was, _thread.makes_itself = getattr(_thread, "makes_itself", False), True
    try:
        yield
    finally:
        _thread.makes_itself = was


class Served:
    """Environments that are served from a thread of this process, one for each slot.

    Attributes:
        made: The environments of the sessions, by slot.
        attributes: What `set_attr` has set before the sessions were opened, by slot.
    """

    def __init__(self, env_fns: Sequence[MakeEnv]) -> None:
        self.made: dict[int, gym.Env[Any, Any]] = {}
        self.attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        self._env_fns = list(env_fns)
        self._opened = 0
        factory, models = gymnasium_factory(partial(self._make, None))

        def numbered(slot: int) -> GymnasiumEnvironment:
            return GymnasiumEnvironment(partial(self._make, slot), models)

        def make() -> GymnasiumEnvironment:
            return factory()

        make.numbered = self._next(numbered)  # type: ignore[attr-defined]
        app = create_app(make, models.action, models.observation, max_concurrent_envs=2 * len(env_fns))
        self.base_url = running.enter_context(servers.running(app))

    def _next(self, numbered: Callable[[int], GymnasiumEnvironment]) -> Callable[[], Any]:
        def take() -> Any:
            slot, self._opened = self._opened % len(self._env_fns), self._opened + 1
            return partial(numbered, slot)

        return take

    def _make(self, slot: int | None) -> gym.Env[Any, Any]:
        with in_this_process():
            env = self._env_fns[slot or 0]()
        if slot is not None:
            self.made[slot] = env
            for name, value in self.attributes[slot].items():
                env.set_wrapper_attr(name, value)
        return env


_open_session = Session.__init__


def _number(self: Session, factory: Any, *args: Any, **kwargs: Any) -> None:
    """Give each new session of a vector environment the environment of its slot."""
    _open_session(self, getattr(factory, "numbered", lambda: factory)(), *args, **kwargs)


class ServedVectorEnv(openenv_gym.RemoteVectorEnv):
    """In the place of `SyncVectorEnv` and `AsyncVectorEnv`.

    Tests prepare environments with ``set_attr``, and look into them with ``get_attr`` and ``call``. That is
    done where the environments are; a `RemoteVectorEnv` cannot.
    """

    def __init__(
        self,
        env_fns: Sequence[MakeEnv],
        *,
        copy: bool = True,
        autoreset_mode: Any = gym.vector.AutoresetMode.NEXT_STEP,
        observation_mode: str | tuple[Space[Any], Space[Any]] = "same",
        **_: Any,
    ) -> None:
        assert observation_mode == "same", "the slots of a remote vector environment have one space"
        self.served = Served(env_fns)
        super().__init__(
            self.served.base_url,
            len(env_fns),
            copy=copy,
            autoreset_mode=autoreset_mode,
            render_mode=self._render_mode(env_fns[0]),
        )

    @staticmethod
    def _render_mode(env_fn: MakeEnv) -> str | None:
        with in_this_process():
            env = env_fn()
        mode = env.render_mode
        env.close()
        return None if mode == "human" else mode

    def set_attr(self, name: str, values: Any) -> None:
        if not isinstance(values, list | tuple):
            values = [values] * self.num_envs
        for slot, value in enumerate(values):
            self.served.attributes[slot][name] = value
            if slot in self.served.made:
                self.served.made[slot].set_wrapper_attr(name, value)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        try:
            return super().get_attr(name)
        except LocalAttributeError:
            return tuple(self.served.made[slot].get_wrapper_attr(name) for slot in range(self.num_envs))


def served_or_itself(env: gym.Env[Any, Any], make: MakeEnv) -> gym.Env[Any, Any]:
    """The remote environment; the environment itself if its space cannot be sent."""
    if not isinstance(getattr(env, "action_space", None), Space):
        return env
    if not isinstance(getattr(env, "observation_space", None), Space):
        return env
    try:
        served = Served([make])
    except SchemaError as error:
        warnings.warn(f"not served: {error}", stacklevel=2)
        return env
    mode = env.render_mode if env.render_mode in ("rgb_array", "ansi", "rgb_array_list") else None
    remote = openenv_gym.RemoteEnv(served.base_url, render_mode=mode and mode.removesuffix("_list"))
    remote.spec = env.spec
    running.callback(remote.close)
    return remote


def make(id: Any, *args: Any, **kwargs: Any) -> gym.Env[Any, Any]:
    """In the place of ``gymnasium.make``: the environment is remote, and its wrappers are here."""
    env = make_here(id, *args, **kwargs)
    if getattr(_thread, "makes_itself", False) or env.render_mode == "human":
        return env
    base = env.unwrapped
    inner, parent = env, None
    while isinstance(inner, gym.Wrapper):
        inner, parent = inner.env, inner
    if type(base).__module__.startswith("gymnasium.envs.") and parent is not None:

        def make_base() -> gym.Env[Any, Any]:
            return make_here(id, *args, **kwargs).unwrapped

        parent.env = served_or_itself(base, make_base)
    return env


def pytest_configure(config: pytest.Config) -> None:
    """Put our environments in the place of Gymnasium's."""
    Session.__init__ = _number  # type: ignore[method-assign]
    gym.make = make
    for module in (gym.vector, gym.vector.sync_vector_env, gym.vector.async_vector_env):
        for name in ("SyncVectorEnv", "AsyncVectorEnv"):
            if hasattr(module, name):
                setattr(module, name, ServedVectorEnv)
    from tests import testing_env  # Gymnasium's

    kind = testing_env.GenericTestEnv

    def new(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        env = object.__new__(cls)
        if cls is not kind or getattr(_thread, "makes_itself", False):
            return env

        def make_again() -> Any:
            return cls(*args, **kwargs)

        cls.__init__(env, *args, **kwargs)
        return served_or_itself(env, make_again)

    kind.__new__ = new


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Stop the servers of a test."""
    running.close()


# --- the tests that need the environment in their process, and the table ------------------------------------


def reasons() -> list[tuple[str, str]]:
    """The pattern of each test that is not applicable, and why."""
    lines = (HERE / "in_process.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" # ", 1) for line in lines if line and not line.startswith("#")]
    return [(pattern.strip(), reason.strip()) for pattern, reason in pairs]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that are not applicable."""
    listed = reasons()
    for item in items:
        for pattern, reason in listed:
            if fnmatchcase(item.nodeid.replace("[", "("), pattern.replace("[", "(")):
                item.add_marker(pytest.mark.skip(reason=reason))
                break


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many tests of each file passed, were not applicable, and failed."""
    rows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    why: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.stats.get(outcome, []):
            path = report.nodeid.partition("::")[0]
            rows[path][outcome] += 1
            if outcome == "skipped" and isinstance(report.longrepr, tuple):
                why[path][str(report.longrepr[2]).removeprefix("Skipped: ")] += 1
    write = terminalreporter.write_line
    write("")
    write(f"{'file':58} {'passed':>6} {'not applicable':>14} {'failed':>6}")
    for path in sorted(rows):
        row = rows[path]
        passed, failed = row["passed"] + row["xfailed"] + row["xpassed"], row["failed"] + row["error"]
        write(f"{path:58} {passed:6} {row['skipped']:14} {failed:6}")
        for reason, count in sorted(why[path].items()):
            write(f"    {count:4} {reason}")
