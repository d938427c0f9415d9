"""A real nginx in front of a server: with TLS, under a path, restarted, reloaded, and without its server."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import EndpointUnreachableError, NotAnOpenEnvServerError, SessionLostError
from tests.gateways.conftest import CountingServer
from tests.gateways.gateway import is_up
from tests.gateways.nginx import WEBSOCKETS, needs_nginx, nginx
from tests.support.waiting import wait_for

pytestmark = needs_nginx

# The size of the long run: 600 in CI, and 10_000 with idle minutes by hand.
STEPS = int(os.environ.get("OPENENV_TEST_GATEWAY_STEPS", "600"))
FULL = 10_000


def in_front(base_url: str, path: str = "/", more: str = "") -> str:
    """The ``server`` block that passes on what is under a path."""
    return f"location {path} {{ proxy_pass {base_url}/; {WEBSOCKETS} {more} }}"


@pytest.mark.timeout(900)
def test_no_step_is_lost_or_doubled_while_gateway_and_server_restart(
    server: CountingServer, tmp_path: Path
) -> None:
    acknowledged: list[int] = []
    lost: list[int] = []
    with nginx(tmp_path, in_front(server.base_url, "/envs/counting/"), has_tls=True) as gateway:
        env = RemoteEnv(
            f"{gateway.origin}/envs/counting",
            ca_file=gateway.ca_file,
            capacity_timeout_s=60,
            on_session_lost="truncate",
        )
        events: dict[int, Callable[[], None]] = {
            STEPS // 6: gateway.restart,
            STEPS // 3: gateway.reload,
            STEPS // 2: lambda: gateway.restart(away_s=1.5),
            2 * STEPS // 3: server.restart,
            5 * STEPS // 6: gateway.restart,
        }
        running: list[threading.Thread] = []
        env.reset()
        for number in range(STEPS):
            if number in events:
                running.append(threading.Thread(target=events[number]))
                running[-1].start()
            if STEPS >= FULL and number in (STEPS // 4, 3 * STEPS // 4):
                time.sleep(65)  # longer than nginx keeps a silent connection
            _, _, _, truncated, info = env.step(action(env, number))
            (lost if truncated else acknowledged).append(number)
            if truncated:
                assert "session_lost" in info
                env.reset()
            if running and running[-1].is_alive():
                time.sleep(0.005)  # so that steps fall into the event, and not all before it
        for event in running:
            event.join()
        env.close()
    done = server.steps_done()
    print(f"{STEPS} steps: {len(done)} done, {len(acknowledged)} acknowledged, {len(lost)} cut short")
    assert [number for number, times in Counter(done).items() if times > 1] == []
    assert set(done) == set(acknowledged)
    assert len(lost) == 1  # the restart of the server, which says so before it goes


def action(env: RemoteEnv, number: int, sleep_s: float = 0.0) -> Any:
    return {"number": np.int64(number), "sleep_s": np.array(sleep_s)}


def test_all_clients_work_through_a_gateway(server: CountingServer, tmp_path: Path) -> None:
    with nginx(tmp_path, in_front(server.base_url, "/a/b/"), has_tls=True) as gateway:
        url, trust = f"{gateway.origin}/a/b", {"ca_file": gateway.ca_file}
        envs = RemoteVectorEnv(url, 3, **trust)
        envs.reset()
        batch = {"number": np.arange(3), "sleep_s": np.zeros(3)}
        assert envs.step(batch)[0]["number"].tolist() == [0, 1, 2]
        gateway.restart()
        batch["number"] += 3
        assert envs.step(batch)[0]["number"].tolist() == [3, 4, 5]
        envs.close()
        with GenericEnvClient(url, **trust) as client:
            client.reset()
            gateway.restart()
            assert client.step({"number": 6}).observation["number"] == 6

        async def drive() -> None:
            async with GenericEnvClient(url, **trust) as client:
                await client.reset()
                await asyncio.to_thread(gateway.restart)
                result = await client.step({"number": 7})
                assert result.observation["number"] == 7

        asyncio.run(drive())
    assert sorted(server.steps_done()) == list(range(8))


def test_a_connection_that_is_cut_for_being_idle_is_resumed(server: CountingServer, tmp_path: Path) -> None:
    impatient = "proxy_read_timeout 1s; proxy_send_timeout 1s;"
    with nginx(tmp_path, in_front(server.base_url, more=impatient)) as gateway:
        env = RemoteEnv(gateway.origin)
        env.reset()
        for number in range(3):
            time.sleep(1.5)
            env.step(action(env, number))
        # Also in the middle of a step.
        env.step(action(env, 3, sleep_s=2.5))
        env.close()
    assert server.steps_done() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["env", "vector env", "typed client"])
def test_a_gateway_without_its_server_means_away_for_now(
    server: CountingServer, tmp_path: Path, kind: str
) -> None:
    with nginx(tmp_path, in_front(server.base_url)) as gateway:
        make: dict[str, Callable[..., Any]] = {
            "env": lambda **wait: RemoteEnv(gateway.origin, **wait),
            "vector env": lambda **wait: RemoteVectorEnv(gateway.origin, 2, **wait),
            "typed client": lambda **_: GenericEnvClient(gateway.origin),
        }
        env = make[kind](capacity_timeout_s=30)
        impatient = make[kind]()
        server.stop()
        with pytest.raises(
            EndpointUnreachableError, match=r"A gateway answers 502 .*\(Server: nginx.*capacity_timeout_s"
        ) as away:
            impatient.reset()
        assert isinstance(away.value, ConnectionError)
        impatient.close()
        if kind != "typed client":
            with pytest.raises(EndpointUnreachableError, match=r"502 to GET /schema .*Retried for 0\.3 s"):
                make[kind](capacity_timeout_s=0.3)
            back = threading.Timer(2, server.start)
            back.start()
            env.reset()
            back.join()
        env.close()


@pytest.mark.parametrize("during", ["an episode", "a pause"])
def test_a_server_that_restarts_behind_a_gateway_ends_no_run(
    server: CountingServer, tmp_path: Path, during: str
) -> None:
    with nginx(tmp_path, in_front(server.base_url)) as gateway:
        env = RemoteEnv(gateway.origin, capacity_timeout_s=30)
        env.reset()
        env.step(action(env, 0))
        restarting = threading.Thread(target=server.restart)
        restarting.start()
        if during == "an episode":
            wait_for(lambda: not is_up(gateway.origin))
            with pytest.raises(SessionLostError):
                env.step(action(env, 1))
        else:
            time.sleep(0.5)
        env.reset()
        env.step(action(env, 2))
        restarting.join()
        env.close()


def test_a_vector_env_goes_on_after_its_server_was_restarted(server: CountingServer, tmp_path: Path) -> None:
    with nginx(tmp_path, in_front(server.base_url)) as gateway:
        envs = RemoteVectorEnv(gateway.origin, 3, on_session_lost="truncate", capacity_timeout_s=30)
        envs.reset()
        restarting = threading.Thread(target=server.restart)
        restarting.start()
        truncated = np.zeros(3, np.bool_)
        number = 0
        while restarting.is_alive() or not truncated.all():
            batch = {"number": np.arange(number, number + 3), "sleep_s": np.full(3, 0.02)}
            truncated |= envs.step(batch)[3]
            number += 3
        batch["number"] = np.arange(number, number + 3)
        assert envs.step(batch)[0]["number"].tolist() == batch["number"].tolist()
        envs.close()
    assert max(Counter(server.steps_done()).values()) == 1


@pytest.mark.parametrize("status", [502, 503, 504, 521])
def test_all_statuses_of_a_gateway_for_a_server_that_is_away(tmp_path: Path, status: int) -> None:
    with nginx(tmp_path, f"location / {{ return {status}; }}") as gateway:
        with pytest.raises(EndpointUnreachableError, match=f"A gateway answers {status} to GET /schema"):
            RemoteEnv(gateway.origin)
        with pytest.raises(EndpointUnreachableError, match=f"A gateway answers {status} to the handshake"):
            GenericEnvClient(gateway.origin).reset()


def test_a_gateway_that_drops_upgrade_is_told_apart(server: CountingServer, tmp_path: Path) -> None:
    with nginx(tmp_path, f"location / {{ proxy_pass {server.base_url}/; }}") as gateway:
        env = RemoteEnv(gateway.origin)
        for use in (env.reset, GenericEnvClient(gateway.origin).reset):
            with pytest.raises(
                NotAnOpenEnvServerError, match=r"answers 404 to the handshake.*Upgrade.*docs/proxies\.md"
            ):
                use()
        env.close()


def test_a_redirect_names_the_right_base_url(server: CountingServer, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "plain").mkdir()
    with (
        nginx(tmp_path / "tls", in_front(server.base_url, "/my/"), has_tls=True) as secure,
        nginx(tmp_path / "plain", f"return 301 {secure.origin}$request_uri;") as plain,
    ):
        for use in (RemoteEnv, lambda url: GenericEnvClient(url).reset()):
            with pytest.raises(
                NotAnOpenEnvServerError,
                match=f"redirects to {secure.origin}/my. .*make {secure.origin}/my",
            ):
                use(f"{plain.origin}/my")


def test_the_wrong_scheme_is_named(server: CountingServer, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "plain").mkdir()
    with (
        nginx(tmp_path / "tls", in_front(server.base_url), has_tls=True) as secure,
        nginx(tmp_path / "plain", in_front(server.base_url)) as plain,
    ):
        for use in (RemoteEnv, lambda url: GenericEnvClient(url).reset()):
            with pytest.raises(
                NotAnOpenEnvServerError, match=f"expects TLS.*Make {secure.origin} the base URL"
            ):
                use(secure.origin.replace("https", "http"))
            with pytest.raises(
                NotAnOpenEnvServerError, match=f"not speak TLS.*Make {plain.origin} the base URL"
            ):
                use(plain.origin.replace("http", "https"))


STICKY = """
    location = /ws {{
        if ($cookie_lb != one) {{ return 421; }}
        proxy_pass {base_url}/ws; {websockets}
    }}
    location / {{ {on_http} proxy_pass {base_url}/; {websockets} }}
"""
SET_COOKIE = 'add_header Set-Cookie "lb=one; Path=/; HttpOnly" always;'


@pytest.mark.parametrize("sets_it", ["with HTTP", "with the refusal"])
def test_the_cookie_of_a_load_balancer_is_sent_back(
    server: CountingServer, tmp_path: Path, sets_it: str
) -> None:
    on_http = SET_COOKIE if sets_it == "with HTTP" else ""
    block = STICKY.format(base_url=server.base_url, websockets=WEBSOCKETS, on_http=on_http)
    if sets_it == "with the refusal":
        block = SET_COOKIE + block
    with nginx(tmp_path, block) as gateway:
        env, envs = RemoteEnv(gateway.origin), RemoteVectorEnv(gateway.origin, 2)
        env.reset()
        envs.reset()
        gateway.restart()  # resumed with the cookie, too
        env.step(action(env, 1))
        env.close()
        envs.close()
        if sets_it == "with the refusal":
            with GenericEnvClient(gateway.origin) as client:
                client.reset()
        with GenericEnvClient(gateway.origin, headers={"Cookie": "lb=one"}) as client:
            client.reset()
