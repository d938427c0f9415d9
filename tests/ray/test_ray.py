"""Servers on a Ray cluster: three nodes, on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import (
    ConfigurationError,
    DeadlineExceededError,
    RemoteEnvironmentError,
    ServerEndedError,
    SessionLostError,
)
from openenv_gym.providers.provider import Provider
from openenv_gym.providers.ray import RayProvider
from openenv_gym.providers.testing import ProviderTests
from tests.support.ending import END_IN_STEP
from tests.support.engine import free_port
from tests.support.process_tree import descendants, is_there
from tests.support.servers import status_of
from tests.support.waiting import answers, wait_for

pytestmark = [pytest.mark.timeout(180)]

COUNTING = "tests.ray.counting:Counting-v0"
SLOTS = 12
GRID = Path(__file__).parents[2] / "envs" / "grid_world_env"


@pytest.mark.usefixtures("cluster")
class TestRayProvider(ProviderTests):
    def make_provider(self) -> Provider:
        return RayProvider(gym="CartPole-v1", replicas=2, num_cpus=0.5)


@pytest.mark.usefixtures("cluster")
def test_a_folder_on_ray_by_name() -> None:
    envs = gym.make_vec(
        "openenv/remote", 4, path=GRID, replicas=2, provider="ray", provider_options={"num_cpus": 0.5}
    )
    envs.reset(seed=1)
    for _ in range(20):
        envs.step(envs.action_space.sample())
    envs.close()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("given", [{}, {"api_key": "sesame"}], ids=["the variable's", "given"])
def test_replicas_ask_for_the_key_of_their_client(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", "another" if given else "sesame")  # the cluster has neither
    options = {"num_cpus": 0.5}
    envs = gym.make_vec(
        "openenv/remote", 4, path=GRID, replicas=2, provider="ray", provider_options=options, **given
    )
    envs.reset(seed=1)
    envs.step(envs.action_space.sample())
    schemas = [f"{url}/schema" for url in envs.unwrapped._servers.endpoints]  # type: ignore[attr-defined]
    assert [status_of(url)[0] for url in schemas] == [401, 401]
    assert [status_of(url, key="sesame")[0] for url in schemas] == [200, 200]
    envs.close()


@pytest.mark.usefixtures("cluster")
def test_more_than_the_cluster_has_is_said() -> None:
    provider = RayProvider(gym="CartPole-v1", num_cpus=99, ready_timeout_s=2)
    with pytest.raises(DeadlineExceededError, match=r"needs num_cpus=99; the cluster has 3 CPU"), provider:
        pass


@pytest.mark.usefixtures("cluster")
def test_a_server_that_takes_too_long_shows_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_text("name: slow\napp: app:app\n")
    (tmp_path / "app.py").write_text("import time\nprint('I sleep', flush=True)\ntime.sleep(60)\n")
    provider = RayProvider(tmp_path, num_cpus=0.5, ready_timeout_s=20)  # Ray itself may need most of them
    with pytest.raises(DeadlineExceededError, match=r"not ready within 20 s(.|\n)*I sleep"), provider:
        pass


@pytest.mark.usefixtures("cluster")
def test_the_end_of_one_provider_leaves_the_others_alone() -> None:
    with RayProvider(gym="CartPole-v1", num_cpus=0.5) as lasts:
        with RayProvider(gym="CartPole-v1", num_cpus=0.5):
            pass
        lasts.check()
        assert answers(f"{lasts.addresses()[0]}/health")


def test_the_end_of_the_one_that_connected_leaves_the_others_alone() -> None:
    code = """\
        from openenv_gym.providers.ray import RayProvider
        first = RayProvider(gym="CartPole-v1", num_cpus=0.2)
        first.launch()
        with RayProvider(gym="CartPole-v1", num_cpus=0.2) as lasts:
            first.stop()
            lasts.check()
            lasts.wait_ready()
            import ray
            ray.shutdown()
            assert lasts.addresses() == lasts.endpoints and lasts.logs() == ""
            try:
                lasts.check()
            except Exception as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Ray was shut down, and the replicas of CartPole-v1 on Ray with it" in done.stdout


def test_a_cluster_that_does_not_answer_is_said_soon() -> None:
    code = "from openenv_gym.providers.ray import RayProvider; RayProvider(gym='CartPole-v1').launch()"
    address = f"127.0.0.1:{free_port()}"
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
    )
    assert f"No Ray cluster responds at RAY_ADDRESS={address}" in done.stderr
    assert time.monotonic() - begin < 30


@pytest.mark.usefixtures("cluster")
def test_a_server_that_does_not_come_up_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"openenv\.yaml"), RayProvider(tmp_path, num_cpus=0.5):
        pass


@pytest.mark.usefixtures("cluster")
def test_what_a_replica_raises_and_its_end_are_explained() -> None:
    env = gym.make_vec(
        "openenv/remote",
        2,
        app="tests.support.ending:app",
        provider="ray",
        provider_options={"num_cpus": 0.5},
        capacity_timeout_s=60,
    )
    env.reset()
    with pytest.raises(RemoteEnvironmentError) as raised:
        env.step(np.array([1, 50]))
    (note,) = raised.value.__notes__
    assert note.endswith("RuntimeError: too much")
    env.reset()
    with pytest.raises(SessionLostError) as lost:
        env.step(np.array([1, END_IN_STEP]))
    assert any("it is restarted" in note for note in lost.value.__notes__)
    env.reset()
    env.step(np.array([1, 1]))
    env.close()


@pytest.mark.usefixtures("cluster")
def test_a_replica_that_ends_for_good_is_said() -> None:
    env = gym.make_vec(
        "openenv/remote",
        2,
        app="tests.support.ending:app",
        provider="ray",
        provider_options={"num_cpus": 0.5, "max_restarts": 0},
    )
    env.reset()
    with pytest.raises(ServerEndedError, match=r"A replica of .* has ended[^$]*make a new one"):
        env.step(np.array([1, END_IN_STEP]))
    env.close()


def test_a_node_that_dies_costs_only_its_slots_their_episodes(cluster: Any) -> None:
    with RayProvider(gym=COUNTING, replicas=3, num_cpus=0.5, max_sessions=SLOTS // 2) as provider:
        envs = RemoteVectorEnv(
            provider.addresses, SLOTS, on_session_lost="truncate", capacity_timeout_s=60, copy=True
        )
        counted, _ = envs.reset()
        every = np.zeros(SLOTS, np.int64)
        envs.send(every)
        victim, first = _node_of(cluster, provider._replicas[0]), provider.endpoints[0]
        lost_at: dict[int, float] = {}
        back_at: dict[int, float] = {}
        steps, killed_at, longest_s = 0, 0.0, 0.0
        last = time.monotonic()
        while len(back_at) < 4 or time.monotonic() - killed_at < 5:
            assert not killed_at or time.monotonic() - killed_at < 60, (lost_at, back_at)
            ready = envs.recv(timeout_s=60)
            now = time.monotonic()
            longest_s, last = max(longest_s, now - last), now
            for place, slot in enumerate(ready.slots.tolist()):
                observation = int(ready.observations[place])
                if ready.truncations[place]:
                    lost_at[slot] = now
                elif slot in lost_at and slot not in back_at:
                    assert observation == 0
                    back_at[slot] = now
                else:
                    assert observation == counted[slot] + 1, f"slot {slot} lost a step"
                    steps += 1
                counted[slot] = observation
            envs.send(every[ready.slots], ready.slots)
            if not killed_at and steps > 2000:
                cluster.remove_node(victim, allow_graceful=False)
                killed_at = time.monotonic()
        assert sorted(lost_at) == sorted(back_at) == [0, 1, 2, 3]
        took = max(back_at.values()) - killed_at
        print(
            f"lost after {max(lost_at.values()) - killed_at:.2f} s, all running again after {took:.2f} s; "
            f"{steps} steps, none of the others' lost; the longest time without any step: {longest_s:.2f} s"
        )
        assert took < 15
        while provider.addresses()[0] == first:
            provider.check()
            assert time.monotonic() - killed_at < 60, "Ray did not start another replica"
            time.sleep(0.1)
        provider.wait_ready()
        print(f"the replica was there again after {time.monotonic() - killed_at:.2f} s")
        envs.close()
    cluster.add_node(num_cpus=1)


def _node_of(cluster: Any, replica: Any) -> Any:
    import ray

    node_id = ray.get(replica.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()))
    (node,) = [node for node in cluster.list_all_nodes() if node.node_id == node_id]
    return node


RUN = """\
import sys, time
from openenv_gym.providers.ray import RayProvider
print(*RayProvider(gym="CartPole-v1", replicas=2, num_cpus=0.5).launch(), flush=True)
time.sleep(120)
"""


# Two of Ray's own processes wait for a minute for what was killed with the rest.
PATIENT = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has just ended


def killed_run(**variables: str) -> tuple[list[int], list[str]]:
    """Kills a run that has two replicas; returns its processes but for the patient, and the base URLs."""
    command = [sys.executable, "-c", RUN]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**env, **variables}) as run:
        assert run.stdout is not None
        urls = run.stdout.readline().split()
        started = [pid for pid in descendants(run.pid) if not command_line(pid).startswith(PATIENT)]
        run.kill()
    assert len(urls) == 2
    return started, urls


def test_kill_9_of_the_run_leaves_no_server_on_the_cluster(cluster: Any) -> None:
    _, urls = killed_run(RAY_ADDRESS=cluster.address)
    wait_for(lambda: not any(answers(f"{url}/health") for url in urls), timeout_s=30)
    with RayProvider(gym="CartPole-v1", replicas=3):
        pass  # all processors are free again


def test_kill_9_of_a_run_with_a_cluster_of_its_own_leaves_no_process() -> None:
    started, urls = killed_run(RAY_ADDRESS="local")
    assert len(started) > len(urls)
    wait_for(lambda: not any(map(is_there, started)), timeout_s=30)
    assert not any(answers(f"{url}/health") for url in urls)


def test_without_ray_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from openenv_gym.providers.ray import RayProvider; RayProvider(gym='CartPole-v1')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "RayProvider needs the ray extra" in ended.stderr
