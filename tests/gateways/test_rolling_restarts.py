"""A rolling restart of four servers under a training loop: no error, no step lost, truncations counted.

``OPENENV_TEST_RESTARTS`` is how often all servers are restarted, and how many seconds each is away; by hand
5 times with 2 s, in CI once with 0.2 s.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from openenv_gym import RemoteVectorEnv
from tests.gateways.nginx import WEBSOCKETS, needs_nginx, nginx
from tests.support.fork_server import ForkedServer, ForkServer
from tests.support.trainer import Trainer

RESTARTS = int(os.environ.get("OPENENV_TEST_RESTARTS", "1"))
AWAY_S = 0.2 if RESTARTS == 1 else 2.0
SERVERS, SLOTS = 4, 64


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ForkedServer]]:
    with ForkServer() as forks:
        yield [ForkedServer(forks, tmp_path / "done") for _ in range(SERVERS)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["plain", pytest.param("nginx with TLS", marks=needs_nginx)])
def test_a_rolling_restart_costs_episodes_and_no_step(
    servers: list[ForkedServer], way: str, tmp_path: Path
) -> None:
    with ExitStack() as living:
        addresses, ca_file = [server.base_url for server in servers], None
        if way != "plain":
            block = "\n".join(
                f"location /{number}/ {{ proxy_pass {address}/; {WEBSOCKETS} }}"
                for number, address in enumerate(addresses)
            )
            gateway = living.enter_context(nginx(tmp_path, block, has_tls=True))
            addresses = [f"{gateway.origin}/{number}" for number in range(SERVERS)]
            ca_file = gateway.ca_file
        envs = RemoteVectorEnv(
            addresses, SLOTS, on_session_lost="truncate", capacity_timeout_s=30, ca_file=ca_file
        )
        trainer = Trainer(envs)
        restarting = threading.Thread(target=restart_all, args=(servers,))
        rng = np.random.default_rng(0)
        trainer.reset()
        restarting.start()
        steps = 0
        while restarting.is_alive() or steps < 100:
            trainer.step(0.002, ending=np.flatnonzero(rng.random(SLOTS) < 0.05).tolist())
            steps += 1
        restarting.join()
        envs.close()
    done = Counter(map(int, (tmp_path / "done").read_text().split()))
    trainer.check_done(done)
    assert done.keys() == set(trainer.acknowledged)  # a server that drains answers what it carries out
    print(
        f"{way}: {RESTARTS * SERVERS} restarts, {steps} vector steps, {len(trainer.acknowledged)} steps "
        f"acknowledged, 0 lost or doubled, {trainer.lost.sum()} episodes truncated"
    )
    # A slot loses an episode when its server stops, and may have moved to one that stops later.
    assert SLOTS / SERVERS <= trainer.lost.sum() <= RESTARTS * SERVERS * SLOTS


def restart_all(servers: list[ForkedServer]) -> None:
    """Stop and start one server after the other."""
    for _ in range(RESTARTS):
        for server in servers:
            time.sleep(0.3)
            server.stop()
            time.sleep(AWAY_S)
            server.start()
