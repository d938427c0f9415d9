"""Servers in processes: folders, Gymnasium ids and import paths; and that none outlives its starter."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openenv_gym import GenericEnvClient
from openenv_gym.errors import ConfigurationError, DeadlineExceededError
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.testing import ProviderTests
from tests.support.process_tree import descendants, is_there
from tests.support.waiting import wait_for

APP = """\
import subprocess
from openenv_server import create_app
from tests.support.environments import CountAction, Counter, CountObservation

app = create_app(Counter, CountAction, CountObservation, env_name="counter")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "openenv.yaml").write_text("name: counter\napp: app:app\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@contextmanager
def closing(provider: ProcessProvider) -> Iterator[None]:
    """Stops it at the end."""
    try:
        yield
    finally:
        provider.stop()


@pytest.mark.integration
class TestAFolder(ProviderTests):
    @pytest.fixture(autouse=True)
    def _in_folder(self, folder: Path) -> None:
        self.folder = folder

    def make_provider(self) -> ProcessProvider:
        return ProcessProvider(self.folder)


class TestAGymnasiumId(ProviderTests):
    def make_provider(self) -> ProcessProvider:
        return ProcessProvider(gym="CartPole-v1", replicas=2)


class TestAnImportPath(ProviderTests):
    def make_provider(self) -> ProcessProvider:
        return ProcessProvider(app="tests.providers.served:app")


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_of_the_run_leaves_no_process(workers: int) -> None:
    code = f"""\
        import sys, time
        from openenv_gym.providers.process import ProcessProvider
        provider = ProcessProvider(gym="CartPole-v1", workers={workers})
        provider.launch()
        print(provider.pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        started = descendants(run.pid)
        assert server in started
        assert len(started) >= 1 + workers
        run.kill()
    wait_for(lambda: not any(map(is_there, started)))


def test_kill_9_while_the_server_imports_leaves_no_process(folder: Path) -> None:
    (folder / "app.py").write_text(
        "import pathlib, os, time\n"
        "pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\n"
        "while True: pass\n"
    )
    code = "import sys; from openenv_gym.providers.process import *; ProcessProvider(sys.argv[1]).launch()"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)]) as run:
        wait_for(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
        run.kill()
    wait_for(lambda: not is_there(int((folder / "pid").read_text())))


def test_kill_9_of_the_supervisor_ends_the_server() -> None:
    with ProcessProvider(gym="CartPole-v1") as provider:
        server = provider.pid
        status = Path(f"/proc/{server}/status").read_text()
        (supervisor,) = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
        os.kill(int(supervisor), signal.SIGKILL)
        wait_for(lambda: not is_there(server))


def test_the_end_of_the_thread_that_started_it_is_not_its_end() -> None:
    provider = ProcessProvider(gym="CartPole-v1")
    thread = threading.Thread(target=provider.launch)
    thread.start()
    thread.join()
    with closing(provider), GenericEnvClient(provider.base_url) as client:
        client.reset()


def test_a_fork_neither_keeps_it_alive_nor_stops_it() -> None:
    provider = ProcessProvider(gym="CartPole-v1")
    provider.launch()
    fork = multiprocessing.get_context("fork").Process(target=provider.stop)
    fork.start()
    fork.join()
    with closing(provider):
        provider.check()
        sleeper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        sleeper.start()
        server = provider.pid
        provider.stop()
        assert not is_there(server)
        sleeper.kill()


@pytest.mark.parametrize("options", ["", ", start_new_session=True"], ids=["in its group", "in another"])
def test_what_the_environment_started_ends_with_it(folder: Path, options: str) -> None:
    (folder / "app.py").write_text(f"{APP}subprocess.Popen(['sh', '-c', 'sleep 300 & sleep 300']{options})\n")
    with ProcessProvider(folder) as provider:
        started = descendants(provider.pid)
        assert len(started) == 3
    wait_for(lambda: not any(map(is_there, started)))


def test_a_provider_that_is_forgotten_leaves_no_server() -> None:
    provider = ProcessProvider(gym="CartPole-v1")
    provider.launch()
    server = provider.pid
    with pytest.warns(ResourceWarning):
        del provider
    wait_for(lambda: not is_there(server))


def test_ctrl_c_in_the_terminal_does_not_reach_it() -> None:
    with ProcessProvider(gym="CartPole-v1") as provider:
        assert os.getsid(provider.pid) != os.getsid(0)
        assert os.getpgid(provider.pid) == provider.pid


def test_what_looks_like_an_address_is_not_taken_for_it(folder: Path) -> None:
    (folder / "app.py").write_text("print('http://127.0.0.1:9', flush=True)\n" + APP)
    with ProcessProvider(folder) as provider, GenericEnvClient(provider.base_url) as client:
        client.reset()
        assert "http://127.0.0.1:9\n" in provider.logs()


def test_a_server_that_ends_later_is_found_by_the_check() -> None:
    with ProcessProvider(gym="CartPole-v1") as provider:
        os.kill(provider.pid, signal.SIGKILL)
        with pytest.raises(ConfigurationError, match="ended with exit code 137"):
            wait_for(provider.check)


def test_a_server_that_takes_too_long_is_ended_and_shows_its_last_words(folder: Path) -> None:
    (folder / "app.py").write_text("import time\nprint('thinking', flush=True)\ntime.sleep(60)\n")
    with pytest.raises(DeadlineExceededError, match=r"not ready within 8 s[^$]*thinking"):
        ProcessProvider(folder, ready_timeout_s=8).launch()


@pytest.mark.parametrize("app", ["nothing", "tests.providers.nowhere:app", "tests.providers.served:nothing"])
def test_an_import_path_that_is_none_says_why(app: str) -> None:
    with pytest.raises(ConfigurationError, match=r"import path|Importing|has no application"):
        ProcessProvider(app=app).launch()


def test_one_source_is_named() -> None:
    with pytest.raises(ConfigurationError, match="Name one of"):
        ProcessProvider("folder", gym="CartPole-v1")
