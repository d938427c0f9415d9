"""With ``on_session_lost="truncate"``, whatever ends a session costs an episode and never the run.

A matrix of the cause, the moment, the autoreset mode, the version of the protocol, and one or two servers. By
default one cell in 17 is run once. ``OPENENV_TEST_LOSSES`` is the number of rounds of every cell; in each the
loss is at another time.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.session import v1, v2
from tests.support.fork_server import ForkedServer, ForkServer
from tests.support.tls import Way, cutting_proxy
from tests.support.trainer import Trainer
from tests.support.waiting import wait_for

ROUNDS = int(os.environ.get("OPENENV_TEST_LOSSES", "0"))

CAUSES = ("drain", "kill", "restart", "stopping", "full", "silence", "cut", "cut over TLS")
MOMENTS = ("idle", "step", "autoreset", "reset", "first reset")
SLOTS_A_SERVER = 2
# How long what is interrupted takes, and how long after its begin the loss happens, in seconds.
LONG_S, DELAY_S = 0.15, 0.05


class Losses:
    """One or two servers, and one way to lose the sessions of the first.

    Args:
        cause: One of `CAUSES`.
        forks: What starts servers.
        folder: Where the numbers of the steps go.
        speaks_v2: Whether the servers speak version 2 of the protocol.
        count: How many servers.

    Attributes:
        addresses: What the client is given.
    """

    def __init__(self, cause: str, forks: ForkServer, folder: Path, *, speaks_v2: bool, count: int) -> None:
        self._cause, self._count, self._file = cause, count, folder / "done"
        self._living = ExitStack()
        has_proxy = cause in ("cut", "cut over TLS", "full")
        grace = {"RESUME_GRACE": "0"} if has_proxy else {}

        def serve(sessions: int) -> ForkedServer:
            server = ForkedServer(
                forks, self._file, speaks_v2=speaks_v2, MAX_CONCURRENT_ENVS=str(sessions), **grace
            )
            self._living.callback(server.stop, signal.SIGKILL)
            return server

        slots = SLOTS_A_SERVER * count
        # Whatever is lost fits on the other server, unless that is full.
        self._servers = [serve(SLOTS_A_SERVER if cause == "full" else slots + 1) for _ in range(count)]
        self.addresses = [server.base_url for server in self._servers]
        self._first = self._servers[0]
        self._occupier: RemoteEnv | RemoteVectorEnv | None = None
        self._occupying: threading.Thread | None = None
        if has_proxy:
            way: Way = "TLS" if cause == "cut over TLS" else "plain"
            self._proxy = self._living.enter_context(cutting_proxy(self.addresses[0], way))
            self.addresses[0] = self._proxy.base_url
        if cause == "full":
            self._full = serve(slots)

    def prepare(self) -> None:
        """Get ready for a loss, while nothing happens."""
        if self._cause == "full":
            self._proxy.lead_to(self._first.base_url)
            self._occupier = RemoteVectorEnv(self._full.base_url, SLOTS_A_SERVER * self._count)
            self._occupier.reset()
        elif self._cause == "stopping":
            self._occupier = env = RemoteEnv(self._first.base_url, on_session_lost="truncate")
            env.reset()
            self._occupying = threading.Thread(target=lambda: env.step(deed(-1, 0.6)))

    def begin(self) -> None:
        """Lose the sessions of the first server."""
        match self._cause:
            case "drain":
                self._first.stop(signal.SIGTERM)
            case "kill":
                self._first.stop(signal.SIGKILL)
            case "restart":
                self._first.stop(signal.SIGKILL)
                self._first.start()
            case "stopping":
                assert self._occupying is not None
                self._occupying.start()
                time.sleep(0.05)
                self._first.send_signal(signal.SIGTERM)
            case "full":
                self._proxy.lead_to(self._full.base_url)
                self._proxy.cut()
            case "silence":
                self._first.send_signal(signal.SIGSTOP)
            case "cut" | "cut over TLS":
                self._proxy.cut()

    def end(self) -> None:
        """Make room again, after a while."""
        if self._count == 1 and self._cause in ("drain", "kill", "full"):
            time.sleep(0.3)
        if self._cause == "stopping":
            wait_for(lambda: not self._first.runs, 20)
        if self._count == 1 or self._cause == "silence":
            if self._cause == "silence":
                time.sleep(1.5)
                self._first.send_signal(signal.SIGCONT)
            self._first.start()
        if self._occupier is not None:
            if self._occupying is not None:
                self._occupying.join()
            elif self._count > 1:
                time.sleep(0.3)
            self._occupier.close()
            self._occupier = None

    def recover(self) -> None:
        """Start what has ended, for the next round."""
        for server in self._servers:
            server.start()
        if self._cause == "full":
            self._proxy.lead_to(self._first.base_url)
            self._proxy.cut()

    def steps_done(self) -> Counter[int]:
        """How often each step was carried out, by number."""
        return Counter(map(int, self._file.read_text().split()))

    def close(self) -> None:
        self._living.close()


def deed(number: int, seconds: float = 0.0) -> dict[str, Any]:
    """One slot's step."""
    return {
        "number": np.int64(number),
        "seconds": np.float64(seconds),
        "ends": np.int64(0),
        "reset_seconds": np.float64(0),
    }


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as forks:
        yield forks


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (v1, v2):
        monkeypatch.setattr(module, "LATE_MARGIN_S", 0.2)


def timeouts(cause: str) -> dict[str, float]:
    short = 0.5 if cause == "silence" else 10.0
    return {
        "connect_timeout_s": short,
        "step_timeout_s": short,
        "reset_timeout_s": short,
        "capacity_timeout_s": 20.0,
    }


def in_the_middle(losses: Losses, delay_s: float) -> threading.Thread:
    """Lose the sessions after a while."""

    def lose() -> None:
        time.sleep(delay_s)
        losses.begin()
        losses.end()

    thread = threading.Thread(target=lose)
    thread.start()
    return thread


def lose_once(losses: Losses, moment: str, trainer: Trainer, delay_s: float) -> None:
    """Lose the sessions of the first server at a moment, and train on."""
    before = trainer.lost.copy()
    losses.prepare()
    if moment == "idle":
        losses.begin()
        ending = threading.Thread(target=losses.end)
        ending.start()
        trainer.step()
    elif moment == "step":
        ending = in_the_middle(losses, delay_s)
        trainer.step(LONG_S)
    elif moment in ("reset", "first reset"):
        ending = in_the_middle(losses, delay_s)
        trainer.reset(LONG_S)
    elif trainer.envs.autoreset_mode is AutoresetMode.SAME_STEP:
        ending = in_the_middle(losses, delay_s)
        trainer.step(ending=[0], reset_seconds=LONG_S)
    else:
        trainer.step(ending=[0], reset_seconds=LONG_S)
        ending = in_the_middle(losses, delay_s)
        trainer.reset_ended(LONG_S)
        trainer.step(LONG_S)
    for _ in range(2):
        trainer.step()
    ending.join()
    for _ in range(2):
        trainer.step()
    assert (trainer.lost - before).max() <= 1, "a loss costs an episode"


def chosen(cells: Iterable[Any], share: int) -> list[Any]:
    """All cells if rounds are asked for; otherwise every so many-th."""
    return list(cells)[:: 1 if ROUNDS else share]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("cause", "moment", "mode", "version", "servers"),
    chosen(itertools.product(CAUSES, MOMENTS, AutoresetMode, ("v1", "v2"), (1, 2)), 17),
)
def test_a_loss_costs_an_episode_and_never_the_run(
    forks: ForkServer,
    tmp_path: Path,
    cause: str,
    moment: str,
    mode: AutoresetMode,
    version: str,
    servers: int,
) -> None:
    dice = random.Random(f"{cause}, {moment}, {mode}, {version}, {servers}")
    losses = Losses(cause, forks, tmp_path, speaks_v2=version == "v2", count=servers)

    def make() -> RemoteVectorEnv:
        return RemoteVectorEnv(
            losses.addresses,
            SLOTS_A_SERVER * servers,
            autoreset_mode=mode,
            on_session_lost="truncate",
            **timeouts(cause),
        )

    try:
        trainer = Trainer(make())
        for round_number in range(ROUNDS or 1):
            if moment != "first reset":
                trainer.reset()
                trainer.step()
            elif round_number:
                trainer.envs.close()
                trainer.envs = make()
            delay_s = dice.uniform(0, LONG_S) if ROUNDS else DELAY_S
            trainer.sends = dice.random() < 0.5
            lose_once(losses, moment, trainer, delay_s)
            losses.recover()
        trainer.envs.close()
        trainer.check_done(losses.steps_done())
    finally:
        losses.close()


@pytest.mark.parametrize(
    ("cause", "moment", "version"),
    chosen(itertools.product(CAUSES, ("idle", "step", "reset"), ("v1", "v2")), 7),
)
def test_a_loss_costs_a_single_environment_an_episode(
    forks: ForkServer, tmp_path: Path, cause: str, moment: str, version: str
) -> None:
    losses = Losses(cause, forks, tmp_path, speaks_v2=version == "v2", count=1)
    try:
        env = RemoteEnv(losses.addresses[0], on_session_lost="truncate", **timeouts(cause))
        number, steps, lost = itertools.count(), 0, 0
        acknowledged = []

        def reset(seconds: float = 0.0) -> None:
            nonlocal steps
            observation, _ = env.reset(options={"seconds": seconds})
            assert observation == 0
            steps = 0

        def step(seconds: float = 0.0) -> None:
            nonlocal steps, lost
            action = deed(next(number), seconds)
            observation, reward, terminated, truncated, info = env.step(action)
            assert not terminated
            assert truncated == ("session_lost" in info)
            if truncated:
                lost += 1
                assert (observation, reward) == (steps, 0.0)
                reset()
            else:
                steps += 1
                assert (observation, reward) == (steps, 1.0)
                acknowledged.append(int(action["number"]))

        for _ in range(ROUNDS or 1):
            lost = 0
            reset()
            step()
            losses.prepare()
            if moment == "idle":
                losses.begin()
                ending = threading.Thread(target=losses.end)
                ending.start()
            else:
                ending = in_the_middle(losses, random.uniform(0, LONG_S) if ROUNDS else DELAY_S)
                (reset if moment == "reset" else step)(LONG_S)
            step()
            ending.join()
            step()
            assert lost <= 1
            losses.recover()
        env.close()
        done = losses.steps_done()
        assert {done[step_number] for step_number in acknowledged} == {1}
    finally:
        losses.close()
