"""Metrics that are whole: all processes in each scrape, requests, bytes, ends of sessions, and refusals."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openenv_server import create_app
from openenv_server.operations.metrics import merged
from openenv_server.sessions.counters import Counters
from prometheus_client.parser import text_string_to_metric_families

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.errors import UnauthorizedError
from openenv_gym.providers.process import ProcessProvider
from tests.server.test_probes import holding
from tests.server.test_security import refusal
from tests.server.test_workers import workers_of
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.proxy import FaultProxy
from tests.support.servers import running, status_of, without_v2
from tests.support.waiting import wait_for

Samples = dict[tuple[str, tuple[str, ...]], float]


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


def app(**variables: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return create_app(Sharing, CountAction, CountObservation)


def scrape(base_url: str, key: str = "") -> str:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(
        urllib.request.Request(f"{base_url}/metrics", None, headers), timeout=5
    ) as found:
        return str(found.read().decode())


def samples(text: str) -> Samples:
    """The values by the name and those of the labels but the worker's, added up over the workers."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for name, value in sample.labels.items() if name != "worker")
            found[sample.name, labels] = found.get((sample.name, labels), 0.0) + sample.value
    return found


def of(base_url: str, name: str, *labels: str) -> float:
    return samples(scrape(base_url)).get((f"openenv_{name}", labels), 0.0)


def by_first_label(found: Samples, wanted: str) -> dict[str, float]:
    return {labels[0]: value for (name, labels), value in found.items() if name == wanted}


# --- several processes ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_scrape_and_each_health_shows_all_workers() -> None:
    with ProcessProvider(gym="CartPole-v1", max_sessions=4, workers=3) as server:
        envs = RemoteVectorEnv(server.base_url, 9, autoreset_mode="Disabled")
        envs.reset(seed=1)
        for _ in range(5):
            envs.step(np.zeros(9, np.int64))
        texts = [scrape(server.base_url) for _ in range(6)]
        for text in texts:
            assert set(re.findall(r'^openenv_worker_up\{worker="(\d)"\} 1.0', text, re.MULTILINE)) == set(
                "012"
            )
            found = samples(text)
            for name, value in (("steps_total", 45), ("resets_total", 9), ("sessions_active", 9)):
                assert found[f"openenv_{name}", ()] == value
            assert found["openenv_sessions_capacity", ()] == 12
            assert text.count("# TYPE openenv_steps_total counter") == 1
        assert (
            len({name for text in texts for name in re.findall(r"^(openenv_\w+)", text, re.MULTILINE)}) > 20
        )
        health = status_of(f"{server.base_url}/health")[1]
        assert [one["worker"] for one in health["workers"]] == [0, 1, 2]
        assert sum(one["active_sessions"] for one in health["workers"]) == 9
        assert health["max_sessions"] == 4  # as before, of the process that answers
        envs.close()
        wait_for(lambda: of(server.base_url, "sessions_closed_total", "client_left") == 9, 5)


def test_one_process_has_no_list_of_workers() -> None:
    with running(app()) as base_url:
        assert "workers" not in status_of(f"{base_url}/health")[1]


@pytest.mark.slow
def test_a_worker_that_cannot_answer_is_left_out_and_delays_nothing_for_long(tmp_path: Path) -> None:
    with holding(tmp_path, "--workers", "2") as (server, _), GenericEnvClient(server.base_url) as client:
        client.reset()
        before = {of(server.base_url, "worker_up") for _ in range(3)}
        assert before == {2}
        stopped = workers_of(server)[0]
        os.kill(stopped, signal.SIGSTOP)  # the sessions' own worker, or the other
        try:
            others = []
            for _ in range(30):  # the kernel may give a connection to the stopped one
                begin = time.monotonic()
                try:
                    with urllib.request.urlopen(f"{server.base_url}/metrics", timeout=2) as found:
                        others.append((samples(found.read().decode()), time.monotonic() - begin))
                except OSError:
                    continue
                if len(others) == 14:  # more than a mailbox holds
                    break
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert others
        assert {found["openenv_worker_up", ()] for found, _ in others} == {1}
        assert max(took for _, took in others) < 1.8
        wait_for(lambda: of(server.base_url, "worker_up") == 2, 10)


def test_texts_of_several_processes_become_one() -> None:
    one = '# HELP a_total A.\n# TYPE a_total counter\na_total{worker="0"} 1.0\n# HELP b B.\n# TYPE b gauge\n'
    other = '# HELP a_total A.\n# TYPE a_total counter\na_total{worker="1"} 2.0\n'
    assert merged([one, other]) == (
        '# HELP a_total A.\n# TYPE a_total counter\na_total{worker="0"} 1.0\na_total{worker="1"} 2.0\n'
        "# HELP b B.\n# TYPE b gauge\n"
    )


# --- what is counted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_whole_requests_and_bytes_are_counted_by_route_and_version(version: str) -> None:
    served = app() if version == "v2" else without_v2(app())
    with running(served) as base_url:
        received, sent = of(base_url, "received_bytes_total"), of(base_url, "sent_bytes_total")
        with GenericEnvClient(base_url) as client:
            client.reset()
            for _ in range(7):
                client.step({"amount": 1})
            client.state()
        found = samples(scrape(base_url))
        for route, count in (("step", 7), ("reset", 1), ("state", 1)):
            assert found["openenv_request_seconds_count", (route, version)] == count
            assert found["openenv_request_seconds_sum", (route, version)] > 0
            assert found["openenv_request_seconds_bucket", ("+Inf", route, version)] == count
        more = found["openenv_received_bytes_total", ()] - received
        assert 7 * 10 < more < 20_000
        assert 7 * 20 < found["openenv_sent_bytes_total", ()] - sent < 60_000


def test_http_requests_have_their_route_and_not_their_path() -> None:
    with running(app()) as base_url:
        for path in ("/schema", "/schema?x=1", "/nowhere/1", "/nowhere/2", "/", "/count/tasks"):
            status_of_any(f"{base_url}{path}")
        found = samples(scrape(base_url))
        counts = {
            labels[0]: value
            for (name, labels), value in found.items()
            if name.endswith("quest_seconds_count")
        }
        assert counts["/schema"] == 2
        assert counts["other"] == 3
        assert counts["/{env_name}/tasks"] == 1


def status_of_any(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()


def test_refusals_are_counted_by_status() -> None:
    served = app(OPENENV_API_KEY="sesame", MAX_SOCKETS_PER_ADDRESS="1", OPENENV_METRICS_KEY="scraper")
    with running(served) as base_url:
        for _ in range(3):
            with pytest.raises(UnauthorizedError):
                GenericEnvClient(base_url, api_key="wrong").reset()
        with GenericEnvClient(base_url, api_key="sesame") as client:
            client.reset()
            refused = refusal(base_url, headers={"Authorization": "Bearer sesame"})
            assert refused[0] == 429
            headers = {"Authorization": "Bearer sesame"}
            assert refusal(base_url, headers=headers, origin="https://evil.example")[0] == 403
            found = samples(scrape(base_url, "scraper"))
        counts = {
            labels[0]: value for (name, labels), value in found.items() if name == "openenv_refused_total"
        }
        assert counts["403"] == counts["429"] == 1
        assert counts["401"] >= 3


def test_sessions_are_counted_when_they_are_cut_kept_resumed_and_closed() -> None:
    with running(app(RESUME_GRACE="30")) as base_url, FaultProxy(base_url, faults={}) as proxy:
        envs = RemoteVectorEnv(proxy.base_url, 3)
        envs.reset()
        proxy.cut()
        wait_for(lambda: of(base_url, "sessions_cut_total") == 3, 5)
        envs.step(envs.action_space.sample() * 0 + 1)
        found = samples(scrape(base_url))
        assert found["openenv_sessions_resumed_total", ()] == 3
        assert found["openenv_sessions_kept", ()] == 0
        envs.close()
        wait_for(lambda: of(base_url, "sessions_closed_total", "client_left") == 3, 5)
        with GenericEnvClient(base_url) as client:
            client.reset()
        wait_for(lambda: of(base_url, "sessions_closed_total", "client_left") == 4, 5)
        status_of(f"{base_url}/reset", {})
        assert of(base_url, "sessions_closed_total", "request_done") == 1
        assert of(base_url, "sessions_closed_total", "grace_over") == 0


def test_the_process_is_described() -> None:
    with running(app()) as base_url:
        text = scrape(base_url)
        found = samples(text)
        assert 0 < found["process_cpu_seconds_total", ()] < 10_000
        assert 10e6 < found["process_resident_memory_bytes", ()] < 10e9
        assert abs(found["process_start_time_seconds", ()] - time.time()) < 60
        version = status_of(f"{base_url}/health")[1]["version"]
        assert re.search(rf'^openenv_build_info{{.*version="{re.escape(version)}".*}} 1', text, re.MULTILINE)


def test_counting_traffic_from_many_threads_loses_nothing() -> None:
    counters = Counters()

    def connect() -> None:
        for _ in range(200):
            traffic = counters.begin_traffic()
            traffic.received += 3
            traffic.sent += 5
            counters.end_traffic(traffic)
            counters.end_traffic(traffic)

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.bytes_received_and_sent() == (4800, 8000)
