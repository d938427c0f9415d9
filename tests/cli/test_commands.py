"""The command line, as a person or a script meets it: real processes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from openenv_cli.commands import COMMANDS, Command, load
from openenv_cli.errors import report

import openenv_gym
from openenv_gym.naming import known
from openenv_gym.providers.process import ProcessProvider
from tests.support.processes import serving
from tests.support.vectors import compare
from tests.support.walker import write_walker

OPENENV = [sys.executable, "-m", "openenv_cli"]


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OPENENV, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **env},
    )


@pytest.mark.integration
def test_help_shows_each_command_and_the_exit_codes() -> None:
    overview = run("--help")
    assert overview.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"{command.name} +{re.escape(command.help[:30])}", overview.stdout)
    assert "Exit codes: 0 success, 1 failure, 2 wrong usage" in overview.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_a_command_has_an_example(command: Command) -> None:
    shown = run(command.name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert re.search(rf"Examples:\s+openenv {command.name}", shown.stdout.replace("│", " "))
    # The overview does not import the command, so its line stands in the table too.
    assert command.help.rstrip(".") in " ".join((load(command)[0].__doc__ or "").split())


def test_the_overview_comes_at_once() -> None:
    took = []
    for _ in range(5):
        begin = time.monotonic()
        run("--help")
        took.append(time.monotonic() - begin)
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import typer.rich_utils"], check=True)
    least = time.monotonic() - begin
    # 0.3 s where nothing else runs; what Typer itself takes says how busy the machine is.
    assert min(took) < max(0.3, 2 * least)


def test_a_shell_completes_commands_and_their_options() -> None:
    def completed(words: str) -> list[str]:
        command = Path(sys.executable).with_name("openenv-gym")
        env = {"_OPENENV_GYM_COMPLETE": "complete_bash", "COMP_WORDS": f"openenv-gym {words}"}
        env["COMP_CWORD"] = str(len(words.split()))
        shown = subprocess.run([command], capture_output=True, text=True, env={**os.environ, **env})
        return shown.stdout.split()

    assert completed("pu") == ["push"]
    assert completed("push --base") == ["--base-image"]


@pytest.mark.integration
def test_the_version_is_that_of_the_distribution() -> None:
    assert run("--version").stdout == f"openenv-gym {version('openenv-gym')}\n"


@pytest.mark.integration
def test_an_unexpected_error_is_a_bug_in_openenv(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero")) == 3
    said = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in said
    assert "a bug in openenv" in said


@pytest.mark.timeout(200)
def test_the_demo_holds_and_saves_its_plot(tmp_path: Path) -> None:
    plot = tmp_path / "curve.png"
    done = run("demo", "--plot", str(plot))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,000 steps equal the local environment, bit for bit" in done.stdout
    assert "the connection was cut 10 times in 1,000 steps, and resumed" in done.stdout
    assert re.search(r"^ +64 +[\d,]+ +[\d,]+ +\d\.\d\d$", done.stdout, re.MULTILINE)
    assert "steps/s in 8 sessions" in done.stdout
    assert "\x1b[" not in done.stdout, "colour in a pipe"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_demos_plot_is_checked_before_the_work(tmp_path: Path) -> None:
    begin = time.monotonic()
    failed = run("demo", "--plot", str(tmp_path / "no" / "curve.png"))
    assert failed.returncode == 2
    assert "does not exist" in failed.stderr
    assert run("demo", "--plot", "curve.jpg").returncode == 2
    assert time.monotonic() - begin < 20


@pytest.mark.integration
def test_serve_prints_its_url_alone_in_a_pipe_and_leaves_no_note() -> None:
    server = subprocess.Popen(
        [*OPENENV, "serve", "--gym", "FrozenLake-v1", "--port", "0", "--gym-kwarg", "is_slippery=false"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        assert url.startswith("http://127.0.0.1:")
        listed = run("list")
        assert f"openenv/FrozenLake-v1\tbase_url\t{url}\thealthy" in listed.stdout
        assert "0 of 64 sessions" in listed.stdout
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) in (0, 130)
    assert server.stdout.read() == ""
    server.stdout.close()
    assert not [found for found in known.known_servers() if found.source.value == url]


@pytest.mark.parametrize("variables", [{}, {"OPENENV_API_KEY": "a-key"}], ids=["no key", "a key"])
def test_serve_for_other_machines_says_where_and_warns_without_a_key(
    variables: dict[str, str], tmp_path: Path
) -> None:
    with serving(tmp_path, "--gym", "CartPole-v1", "--host", "0.0.0.0", **variables) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        server.signal(signal.SIGTERM)
        server.ends()
    port = server.base_url.rpartition(":")[2]
    assert f"From other machines: http://{socket.gethostname()}:{port}\n" in server.lines
    assert ("needs no key" in "".join(server.lines)) == (not variables)


def test_serve_in_a_terminal_shows_the_line_to_paste() -> None:
    leader, follower = pty.openpty()
    server = subprocess.Popen(
        [*OPENENV, "serve", "--gym", "CartPole-v1", "--port", "0"],
        stdout=follower,
        env={**os.environ, "COLUMNS": "100"},
    )
    os.close(follower)
    shown, deadline = "", time.monotonic() + 60
    while "Ctrl-C stops" not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([leader], [], [], 1)[0]:
            shown += os.read(leader, 4096).decode()
    server.terminate()
    server.wait(timeout=20)
    os.close(leader)
    assert 'gym.make("openenv/CartPole-v1")' in shown
    assert 'gym.make("openenv/remote", base_url="http://127.0.0.1:' in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--gym", "NoSuchEnv-v0"], "Gymnasium cannot make NoSuchEnv-v0"),
        (["serve", "--gym", "CartPole-v1", "--gym-kwarg", "slippery"], "is not of the form KEY=VALUE"),
        (["serve", "--gym", "CartPole-v1", "--gym-kwarg", "nonsense=1"], "nonsense"),
        (["serve", "--gym", "CartPole-v1", "folder"], "Pass only one of"),
        (["serve", "/"], "has neither openenv.yaml nor server/app.py"),
        (["serve", "./my_evn"], "/my_evn\n"),
        (["serve", __file__], f"No such folder: {__file__} (it is a file)"),
        (["info", "./my_evn"], "No such folder: "),
        (["info", __file__], f"No such folder: {__file__} (it is a file)"),
        (["serve", "--port", "70000"], "65535"),
        (["serve", "--gym"], "requires an argument"),
        (["fly"], "No such command"),
        (["collect", "env:one", "--num-episodes", "3"], "Collect episodes with a loop over gym.make"),
    ],
)
def test_wrong_usage_says_what_to_do_and_exits_with_2(arguments: list[str], message: str) -> None:
    failed = run(*arguments)
    assert failed.returncode == 2, failed.stderr
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_port_that_is_taken_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with serving(tmp_path, "--gym", "CartPole-v1") as server:
        port = server.base_url.rpartition(":")[2]
        failed = run("serve", "--gym", "CartPole-v1", "--port", port)
    assert failed.returncode == 2
    assert f"Port {port} of 127.0.0.1 is in use by CartPole-v1: openenv serve (process " in failed.stderr
    assert "--port 0 takes a free one" in failed.stderr


@pytest.mark.integration
def test_list_when_nothing_is_known_says_how_to_begin(tmp_path: Path) -> None:
    empty = run("list", XDG_RUNTIME_DIR=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert empty.returncode == 0
    assert "openenv serve" in empty.stderr
    assert empty.stdout == ""


@pytest.mark.integration
def test_list_shows_what_does_not_answer() -> None:
    listed = run("list", OPENENV_GONE_URL="http://127.0.0.1:9")
    assert (
        "openenv/gone\tbase_url\thttp://127.0.0.1:9\tno answer (EndpointUnreachable)\t$OPENENV_GONE_URL"
        in listed.stdout
    )


def test_max_sessions_and_the_environment_variable() -> None:
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import get_json

    with ProcessProvider(gym="CartPole-v1", max_sessions=3) as server:
        assert get_json(Endpoint.parse(server.base_url), "/health", timeout_s=5)["max_sessions"] == 3


def test_a_server_that_cannot_start_says_why_to_its_provider() -> None:
    from openenv_gym.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="Gymnasium cannot make NoSuchEnv-v0"):
        ProcessProvider(gym="NoSuchEnv-v0").launch()


@pytest.mark.integration
def test_an_environment_that_prints_as_it_is_imported_is_served(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_text("name: talker\napp: app:app\n")
    (tmp_path / "app.py").write_text(
        "print('hello', flush=True)\n"
        "from openenv_server import create_app\n"
        "from tests.support.environments import *\n"
        "app = create_app(Counter, CountAction, CountObservation)\n"
    )
    with ProcessProvider(str(tmp_path)) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert "hello" in server.logs()


@pytest.mark.integration
def test_spaces_shows_each_field_its_space_and_the_rule() -> None:
    from typing import Annotated, Literal

    from openenv_server import Action, create_app
    from pydantic import BaseModel, Field

    from tests.support.environments import Counter, CountObservation
    from tests.support.servers import running

    class Part(BaseModel):
        kind: Literal["a", "b"]
        code: Annotated[str, Field(pattern="^x")]

    class Everything(Action):
        speed: Annotated[float, Field(ge=0, le=1)]
        parts: list[Part | None]

    with running(create_app(Counter, Everything, CountObservation)) as url:
        shown = run("spaces", url)
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines() if line] == [
        "action", "speed", "parts", "[]", "|0", "kind", "code", "|1", "observation", "total",
    ]  # fmt: skip
    assert re.search(r"^  speed +Box\(0\.0, 1\.0, \(\), float64\) +number$", shown.stdout, re.MULTILINE)
    assert re.search(r'kind +Discrete\(2\) +labels: 0 "a", 1 "b"$', shown.stdout, re.MULTILINE)
    assert re.search(
        r"code +PatternText\(.*text \(only the server checks pattern\)$", shown.stdout, re.MULTILINE
    )


def test_spaces_of_what_is_no_server() -> None:
    assert run("spaces", "http://127.0.0.1:9").returncode == 4
    assert "has neither openenv.yaml nor server/app.py" in run("spaces", "/").stderr


@pytest.mark.parametrize("until", ["it imports", "1. A server", "2. Equality"])
def test_ctrl_c_ends_the_demo_at_once_and_leaves_no_server(until: str, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    demo = subprocess.Popen(
        [*OPENENV, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert demo.stdout is not None
    if until == "it imports":
        time.sleep(0.5)
    else:
        assert any(line.startswith(until) for line in demo.stdout)
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=20)
    # Python ends itself by the signal where it came amid some imports; a shell says 130 to both.
    assert demo.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
    assert list(tmp_path.rglob("*.json")) == []


def test_bench_by_itself_goes_as_far_as_there_are_sessions(tmp_path: Path) -> None:
    folder = write_walker(tmp_path)
    (folder / "uv.lock").unlink()  # served by this interpreter
    done = run("bench", str(folder), "--seconds", "0.1", MAX_CONCURRENT_ENVS="8")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()][-2:] == ["1", "8"]
    assert "Stopped at the server's capacity" in done.stderr


def test_bench_measures_and_stops_where_the_server_is_full(
    serve_gym: Callable[[str], str], tmp_path: Path
) -> None:
    plot = tmp_path / "bench.png"
    done = run(
        "bench", serve_gym("CartPole-v1"), "--sessions", "2,1,4000", "--seconds", "0.2", "--plot", str(plot)
    )
    assert done.returncode == 5, done.stderr
    assert re.search(r"^sessions\tp50 ms\t.*\n1\t[\d.\t]+\n2\t[\d.\t]+\n$", done.stdout)
    assert "4000" in done.stderr
    assert "--max-sessions" in done.stderr
    assert plot.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "has neither openenv.yaml nor server/app.py"),
        (["http://127.0.0.1:9", "--gym", "CartPole-v1"], "Pass either a server"),
        (["http://127.0.0.1:9", "--sessions", "few"], "is not a list of positive numbers"),
    ],
)
def test_bench_says_what_is_wrong(arguments: list[str], reason: str) -> None:
    failed = run("bench", *arguments)
    assert failed.returncode == 2
    assert reason in failed.stderr


def step_often(envs: Any) -> None:
    for _ in range(100):
        envs.step(envs.action_space.sample())


def test_workers_share_an_address_and_a_vector_environment_meets_them_all() -> None:
    from openenv_gym.errors import SessionLostError

    with ProcessProvider(gym="CartPole-v1", max_sessions=4, workers=2) as server:
        envs = gym.make_vec("openenv/remote", 8, base_url=server.base_url)
        local = gym.make_vec("CartPole-v1", 8, "sync")
        assert compare(local, envs, steps=100) > 4
        backend: Any = envs.unwrapped._backend  # type: ignore[attr-defined]
        assert len(backend._partition.parts) == 2
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        workers = [
            int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
        ]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        with pytest.raises(SessionLostError):
            step_often(envs)
        deadline = time.monotonic() + 60
        while True:  # the worker that was killed is replaced
            try:
                envs.reset(seed=1)
                break
            except openenv_gym.OpenEnvError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        envs.step(envs.action_space.sample())
        envs.close()
    for worker in workers:
        assert not Path(f"/proc/{worker}").exists()
