"""Names for ``gym.make``: where they come from, and that Gymnasium looks them up when it is asked."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs import registration as gymnasium_registration
from gymnasium.error import NameNotFound
from openenv_server import create_app

import openenv_gym
from openenv_gym.errors import ConfigurationError, RemoteEnvironmentError, UnknownNameError
from openenv_gym.naming import known
from openenv_gym.naming.registration import register_known
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.transport.blocking import BlockingConnection
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.processes import serving
from tests.support.servers import running
from tests.support.walker import write_walker


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    before = dict(gym.registry)
    yield
    gym.registry.clear()
    gym.registry.update(before)


def urls(env_id: str) -> str:
    register_known()
    return str(gym.spec(env_id).kwargs["base_url"])


def test_register_makes_both_spellings_known(serve_gym: Callable[[str], str]) -> None:
    openenv_gym.register("my_cart", base_url=serve_gym("CartPole-v1"))
    for env_id in ("openenv/my-cart", "openenv/my_cart"):
        env = gym.make(env_id)
        assert env.reset(seed=1)[0] in env.observation_space
        env.close()
    assert "my-cart" in openenv_gym.names()


def test_register_again_replaces() -> None:
    openenv_gym.register("my-env", base_url="http://one")
    openenv_gym.register("my-env", base_url="http://two")
    assert urls("openenv/my_env") == "http://two"


@pytest.mark.parametrize("name", ["", "a/b", "http://host", "remote", "sp ace", "@rev"])
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        openenv_gym.register(name, base_url="http://host")


def test_a_variable_names_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_FAR_AWAY_URL", "http://far:1")
    assert urls("openenv/far-away") == "http://far:1"


def test_the_registry_file_names_servers() -> None:
    path = known.registry_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[environments.filed_env]\nbase_url = "http://filed:2"\n')
    try:
        assert urls("openenv/filed-env") == "http://filed:2"
    finally:
        path.unlink()


def test_a_problem_in_the_registry_file_is_reported_once_and_the_rest_is_known() -> None:
    path = known.registry_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[environments.empty]\n[environments.whole]\nbase_url = "http://whole:1"\n')
    code = (
        "import openenv_gym\n"
        "from openenv_gym.naming.registration import register_known\n"
        "register_known(); print(openenv_gym.names())"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.count("[environments.empty] has no source; name one of base_url") == 1
        assert "'whole'" in done.stdout
        path.write_text("[environments")
        problems: list[str] = []
        known.known_servers(problems)
        (problem,) = problems
        assert "is not a registry file: " in problem
        assert "Fix the file" in problem
    finally:
        path.unlink()


def test_variables_come_before_the_file_and_the_file_before_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    note = known.leave_note("both", "http://noted:1")
    path = known.registry_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        assert urls("openenv/both") == "http://noted:1"
        path.write_text('[environments.both]\nbase_url = "http://filed:2"\n')
        assert [s.source.value for s in known.known_servers() if s.name == "both"] == ["http://filed:2"]
        monkeypatch.setenv("OPENENV_BOTH_URL", "http://variable:3")
        assert [s.source.value for s in known.known_servers() if s.name == "both"] == ["http://variable:3"]
    finally:
        path.unlink(missing_ok=True)
        known.remove_note(note)


def test_a_server_started_after_the_import_is_found_and_forgotten_when_it_stops(tmp_path: Path) -> None:
    with serving(tmp_path, "--gym", "MountainCar-v0") as server:
        env = gym.make("openenv/MountainCar-v0")
        assert env.reset(seed=1)[0] in env.observation_space
        env.close()
        assert any(found.source.value == server.base_url for found in known.known_servers())
        server.signal(signal.SIGTERM)
        server.ends()
        assert not list(known.notes_folder().glob(f"{server.process.pid}-*"))


def test_the_server_of_a_provider_is_not_for_others_to_find() -> None:
    with ProcessProvider(gym="Acrobot-v1") as server:
        assert not any(found.source.value == server.base_url for found in known.known_servers())
        assert not list(known.notes_folder().glob(f"{server.pid}-*"))


def test_a_stale_note_is_dropped() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = known.notes_folder()
    folder.mkdir(parents=True, exist_ok=True)
    stale, garbage = folder / f"{ended.pid}-gone.json", folder / "garbage.json"
    stale.write_text(json.dumps({"name": "gone", "base_url": "http://gone", "pid": ended.pid}))
    garbage.write_text("{")
    alive = known.leave_note("alive", "http://alive")
    try:
        names = [server.name for server in known.known_servers()]
        assert "alive" in names
        assert "gone" not in names
        assert not stale.exists()
        assert not garbage.exists()
        assert alive.exists()
    finally:
        known.remove_note(alive)


def test_of_two_servers_of_one_name_the_last_one_counts() -> None:
    first = known.leave_note("twice", "http://first:1")
    # As another process leaves it, whose number is the smaller one in the alphabet.
    second = first.with_name(f"1-{first.name.partition('-')[2]}")
    second.write_text(json.dumps({"name": "twice", "base_url": "http://second:2", "pid": os.getpid()}))
    os.utime(first, (1.0, 1.0))
    try:
        assert urls("openenv/twice") == "http://second:2"
        os.utime(second, (0.0, 0.0))
        assert urls("openenv/twice") == "http://first:1"
    finally:
        known.remove_note(first)
        known.remove_note(second)


def test_a_fresh_interpreter_knows_the_names(tmp_path: Path) -> None:
    env = {**os.environ, "OPENENV_MY_GAME_URL": "http://game:8000"}
    code = (
        "import gymnasium, openenv_gym; print(gymnasium.spec('openenv/my_game').kwargs, openenv_gym.names())"
    )
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "http://game:8000" in out.stdout
    assert "'remote'" in out.stdout


def test_a_name_follows_its_server_to_another_port(tmp_path: Path) -> None:
    for _ in range(2):
        with serving(tmp_path, "--gym", "CartPole-v1") as server:
            env = gym.make("openenv/CartPole-v1")
            assert str(env.unwrapped) == f"RemoteEnv({server.base_url!r})"
            env.close()


def test_spec_make_and_make_vec_agree_on_a_server_that_started_after_the_import(tmp_path: Path) -> None:
    with pytest.raises(NameNotFound):
        gym.spec("openenv/CartPole-v1")
    with serving(tmp_path, "--gym", "CartPole-v1") as server:
        for env_id in ("openenv/CartPole-v1", "openenv_gym:openenv/CartPole-v1"):
            assert gym.spec(env_id).kwargs == {"base_url": server.base_url}
            env = gym.make(env_id)
            envs = gym.make_vec(env_id, 2)
            assert env.spec is not None
            assert env.spec.kwargs["base_url"] == envs.spec.kwargs["base_url"] == server.base_url
            env.close()
            envs.close()
    for look_up in (gym.spec, gym.make, gym.make_vec):
        with pytest.raises(UnknownNameError, match="Unknown environment openenv/CartPole-v1"):
            look_up("openenv/CartPole-v1")


@pytest.mark.parametrize("look_up", [gym.spec, gym.make, gym.make_vec])
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(look_up: Callable[[str], Any]) -> None:
    openenv_gym.register("my-env", base_url="http://host")
    with pytest.raises(
        UnknownNameError, match=r"Did you mean openenv/my-env\?.*openenv register my-evn --url"
    ):
        look_up("openenv/my-evn")


def test_other_namespaces_are_looked_up_by_gymnasium_alone() -> None:
    with pytest.raises(NameNotFound, match="doesn't exist"):
        gym.spec("CartPoole-v1")
    assert gym.spec("CartPole-v1").id == "CartPole-v1"


def test_gymnasium_looks_names_up_with_the_functions_that_are_wrapped() -> None:
    """`_find_spec` is private. If a new Gymnasium fails this, see `naming.registration.follow_lookups`."""
    for module in (gym, gym.envs, gymnasium_registration):
        assert module.spec.__wrapped__.__module__ == "gymnasium.envs.registration"
    for private in ("_find_spec", "_check_version_exists"):
        assert getattr(gymnasium_registration, private).__wrapped__.__name__ == private
    for make in (gym.make, gym.make_vec):
        assert "_find_spec" in make.__code__.co_names


def test_unknown_sources_of_register_are_refused() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'url'\. Name one of base_url, path"):
        openenv_gym.register("my-env", url="http://host")


def test_register_wins_over_the_names_of_this_machine() -> None:
    note = known.leave_note("registered", "http://noted:1")
    try:
        openenv_gym.register("registered", base_url="http://registered:2")
        assert urls("openenv/registered") == "http://registered:2"
    finally:
        known.remove_note(note)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment's folder; its servers write their process ids into a file."""
    folder = tmp_path_factory.mktemp("adder")
    (folder / "openenv.yaml").write_text("name: adder\napp: app:app\n")
    (folder / "app.py").write_text(
        "import os, pathlib\n"
        "from openenv_server import create_app, gymnasium_factory\n"
        "import gymnasium\n"
        "factory, models = gymnasium_factory(lambda: gymnasium.make('CartPole-v1'))\n"
        "app = create_app(factory, models.action, models.observation, env_name='adder')\n"
        "with pathlib.Path(__file__).with_name('pids').open('a') as file: print(os.getpid(), file=file)\n"
    )
    return folder


def servers_of(folder: Path) -> list[int]:
    """The process ids of the folder's servers that still run."""
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_folder_is_served_while_its_environment_is_open(folder: Path) -> None:
    env = gym.make("openenv/remote", path=str(folder))
    assert env.reset(seed=1)[0] in env.observation_space
    assert len(servers_of(folder)) == 1
    env.close()
    env.close()
    assert servers_of(folder) == []


def test_what_a_served_folder_raises_comes_with_its_log(tmp_path: Path) -> None:
    folder = write_walker(tmp_path)
    (folder / "uv.lock").unlink()  # served by this interpreter
    module = folder / "server" / "walker_environment.py"
    module.write_text(module.read_text().replace("self._x += action", "self._y += action"))
    env = gym.make("openenv/remote", path=str(folder))
    env.reset(seed=1)
    with pytest.raises(openenv_gym.OpenEnvError) as failed:
        env.step(env.action_space.sample())
    env.close()
    assert "walker_environment.py" in failed.value.__notes__[0]
    assert "has no attribute '_y'" in failed.value.__notes__[0]


def test_an_error_does_not_wait_for_the_log_of_a_server_that_was_not_started_here() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        env = gym.make("openenv/remote", base_url=base_url, disable_env_checker=True)
        env.reset()
        begin = time.monotonic()
        with pytest.raises(RemoteEnvironmentError, match="too much") as failed:
            env.step(np.array(40))
        assert time.monotonic() - begin < 0.5
        assert not hasattr(failed.value, "__notes__")
        env.close()


@pytest.mark.parametrize("slots", [None, 2], ids=["one session", "a vector"])
def test_ctrl_c_while_sessions_are_closed_stops_the_server(
    folder: Path, slots: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(connection: BlockingConnection) -> None:
        raise KeyboardInterrupt

    env: Any
    if slots is None:
        env = gym.make("openenv/remote", path=str(folder))
    else:
        env = gym.make_vec("openenv/remote", slots, path=str(folder))
    env.reset(seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(BlockingConnection, "hang_up", interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.close()
    assert servers_of(folder) == []


def test_all_slots_share_the_server_of_a_folder(folder: Path) -> None:
    openenv_gym.register("adder", path=folder)
    envs = gym.make_vec("openenv/adder", 70)  # more than a server has by itself
    envs.reset(seed=1)
    assert len(servers_of(folder)) == 1
    envs.close()
    assert servers_of(folder) == []


def test_an_environment_that_is_never_closed_leaves_no_server(folder: Path) -> None:
    code = (
        "import sys, gymnasium, openenv_gym\n"
        "env = gymnasium.make('openenv/remote', path=sys.argv[1]); env.reset()"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60)
    assert servers_of(folder) == []


def test_a_copy_uses_the_server_and_leaves_it_running(folder: Path) -> None:
    env = gym.make("openenv/remote", path=str(folder)).unwrapped
    copy = pickle.loads(pickle.dumps(env))
    copy.reset(seed=1)
    copy.close()
    assert env.reset(seed=1)[0] in env.observation_space
    env.close()
    assert servers_of(folder) == []


def test_a_server_is_stopped_if_its_environment_cannot_be_made(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="on_session_lost"):
        gym.make("openenv/remote", path=str(folder), on_session_lost="cry")
    assert servers_of(folder) == []


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ({"base_url": "http://host", "provider_options": {"workers": 2}}, "runs already"),
        (
            {"path": "/", "provider_options": {"memory": "2g"}},
            "Unknown option 'memory'.* options of path= are ",
        ),
        ({"space": "alone"}, "OWNER/NAME"),
        ({"path": "/nowhere"}, "No such folder: /nowhere"),
        ({"path": __file__}, "No such folder: .*it is a file"),
        ({"path": "/", "base_url": "http://host"}, "has base_url and path; keep one of them"),
        ({}, "needs the server"),
    ],
    ids=str,
)
def test_a_source_that_cannot_be_served_says_what_to_do(source: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        gym.make("openenv/remote", **source)
