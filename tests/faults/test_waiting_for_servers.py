"""Servers that are not up yet, or have no free session: what is waited for, and what is refused at once."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import EndpointUnreachableError
from tests.faults.test_losses import sleepers
from tests.support.engine import free_port
from tests.support.proxy import FaultProxy
from tests.support.servers import running


@pytest.fixture
def nowhere() -> str:
    """An address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def test_a_server_that_is_not_up_yet_is_an_error(nowhere: str) -> None:
    with pytest.raises(EndpointUnreachableError, match=nowhere):
        RemoteEnv(nowhere)
    begin = time.monotonic()
    with pytest.raises(EndpointUnreachableError, match=nowhere):
        RemoteEnv(nowhere, capacity_timeout_s=0.5)
    assert 0.5 <= time.monotonic() - begin < 3


@pytest.mark.parametrize("kind", ["env", "vector env", "vector env of two servers"])
def test_a_server_that_is_not_up_yet_is_waited_for_where_that_is_asked_for(
    kind: str, nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as living:
        proxies = [living.enter_context(FaultProxy(nowhere, faults={})) for _ in range(2)]
        one, other = (proxy.base_url for proxy in proxies)

        def start() -> None:
            for proxy in proxies:
                proxy.lead_to(living.enter_context(running(sleepers())))

        starting = threading.Timer(0.5, start)
        starting.start()
        env = (
            RemoteEnv(one, capacity_timeout_s=20)
            if kind == "env"
            else RemoteVectorEnv(one if kind == "vector env" else [one, other], 2, capacity_timeout_s=20)
        )
        starting.join()
        env.reset()
        env.close()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "openenv_gym"]
    assert said.endswith("It is waited for, 20 s at most (capacity_timeout_s).")
