"""What an operator sees of a server: its metrics, health, logs and settings."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
import urllib.request
from collections import Counter as Counts
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app, gymnasium_factory
from openenv_server.sessions.counters import BOUNDS_S, Durations
from openenv_server.settings import Settings
from prometheus_client.parser import text_string_to_metric_families

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.errors import OpenEnvError, RemoteError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.processes import serving_sleeper
from tests.support.servers import running, status_of, without_v2

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def app(kind: Any = Counter, **keywords: Any) -> Any:
    return create_app(kind, CountAction, CountObservation, **keywords)


def figures(base_url: str) -> dict[str, float]:
    """All samples: the name, without ``openenv_``, with the labels but the worker's."""
    with urllib.request.urlopen(f"{base_url}/metrics", timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = response.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "worker"}
            shown = "".join(f"{{{value}}}" for value in labels.values())
            found[sample.name.removeprefix("openenv_") + shown] = sample.value
    return found


class Sleepy(Counter):
    """Sleeps 20 ms in a step, and is slow to start."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def step(self, action: CountAction) -> CountObservation:
        time.sleep(0.02)
        return super().step(action)


def test_metrics_equal_what_a_client_of_version_1_counted() -> None:
    with running(without_v2(app(Sleepy))) as base_url:
        begin = time.perf_counter()
        with GenericEnvClient(base_url) as client, GenericEnvClient(base_url) as other:
            for _ in range(3):
                client.reset()
            other.reset()
            for _ in range(7):
                client.step({"amount": 1})
            other.step({"amount": 1})
            with pytest.raises(RemoteError):
                client.step({"amount": 10})
            with pytest.raises(RemoteError):
                client.step({"amount": "x"})
            with pytest.raises(RemoteError):
                client.reset(fail=True)
            seen = figures(base_url)
            took = time.perf_counter() - begin
            assert (seen["sessions_active"], seen["sessions_capacity"]) == (2, 64)
        assert (seen["steps_total"], seen["resets_total"], seen["sessions_opened_total"]) == (8, 4, 2)
        assert (seen["errors_total{EXECUTION_ERROR}"], seen["errors_total{VALIDATION_ERROR}"]) == (2, 1)
        assert (seen["step_seconds_count"], seen["reset_seconds_count"]) == (8, 4)
        assert seen["queue_seconds_count"] == 12
        assert 8 * 0.02 <= seen["step_seconds_sum"] < took
        assert (seen["step_seconds_bucket{0.01}"], seen["step_seconds_bucket{+Inf}"]) == (0, 8)
        assert seen["queue_seconds_sum"] < took
        for _ in range(100):
            if (seen := figures(base_url))["sessions_active"] == 0:
                break
            time.sleep(0.02)
        assert (seen["sessions_active"], seen["steps_total"], seen["resets_total"]) == (0, 8, 4)


def test_metrics_count_http_requests() -> None:
    with running(app()) as base_url:
        for body, status in (({}, 200), ({"fail": True}, 500)):
            assert status_of(f"{base_url}/reset", body)[0] == status
        seen = figures(base_url)
    assert (seen["sessions_opened_total"], seen["resets_total"], seen["reset_seconds_count"]) == (2, 1, 1)
    assert seen["errors_total{EXECUTION_ERROR}"] == 1


@pytest.mark.parametrize("autoreset", ["next_step", "same_step"])
@pytest.mark.parametrize("count", [1, 16])
def test_metrics_equal_what_a_client_of_version_2_counted(autoreset: Any, count: int) -> None:
    factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
    served = create_app(factory, models.action, models.observation)
    rounds, resets, ended = 60, count, np.zeros(count, bool)
    with running(served) as base_url:
        mode = {"next_step": "NextStep", "same_step": "SameStep"}[autoreset]
        envs = RemoteVectorEnv(base_url, count, autoreset_mode=gym.vector.AutoresetMode(mode))
        envs.reset(seed=1)
        skipped = 0
        for _ in range(rounds):
            skipped += int(ended.sum()) if autoreset == "next_step" else 0
            _, _, terminated, truncated, _ = envs.step(np.ones(count, np.int64))
            ended = terminated | truncated
            resets += int(ended.sum())
        if autoreset == "next_step":
            resets -= int(ended.sum())  # those are begun by a step that was not taken any more
        seen = figures(base_url)
        envs.close()
        after = figures(base_url)
    assert (seen["sessions_active"], seen["sessions_opened_total"]) == (count, count)
    assert seen["steps_total"] == rounds * count - skipped
    assert resets > count
    assert seen["resets_total"] == resets
    assert (seen["step_seconds_count"], seen["reset_seconds_count"]) == (rounds * count, count)
    assert seen["queue_seconds_count"] == (rounds + 1) * count
    assert seen["step_seconds_bucket{+Inf}"] == rounds * count
    assert (after["steps_total"], after["resets_total"]) == (seen["steps_total"], seen["resets_total"])


def test_two_servers_in_one_process_count_for_themselves() -> None:
    with running(app()) as one, running(app()) as other, GenericEnvClient(one) as client:
        client.reset()
        assert (figures(one)["resets_total"], figures(other)["resets_total"]) == (1, 0)


def test_the_time_inside_an_async_environment_is_not_taken_for_time_in_the_queue() -> None:
    class Late(Counter):
        async def step_async(self, action: CountAction) -> CountObservation:
            await asyncio.sleep(0.2)
            return super().step(action)

    with running(app(Late)) as base_url, GenericEnvClient(base_url) as client:
        client.reset()
        client.step({"amount": 1})
        seen = figures(base_url)
    assert seen["queue_seconds_sum"] < 0.19 <= seen["step_seconds_sum"]


def test_durations_fall_into_the_buckets_that_numpy_says() -> None:
    seconds = np.random.default_rng(0).lognormal(-5, 4, 500)
    seconds[:15] = BOUNDS_S
    one_by_one, at_once = Durations(), Durations()
    for value in seconds:
        one_by_one.add(float(value))
    for part in np.split(seconds, 20):
        at_once.add_all(tuple(map(float, part)))
    expected = [(str(bound), float((seconds <= bound).sum())) for bound in BOUNDS_S] + [("+Inf", 500.0)]
    for durations in (one_by_one, at_once):
        buckets, sum_s = durations.cumulative()
        assert buckets == expected
        assert sum_s == pytest.approx(seconds.sum())


# --- health -----------------------------------------------------------------------------------------


def test_a_full_server_is_degraded_and_says_so() -> None:
    served = app(max_concurrent_envs=1)
    with running(served) as base_url, GenericEnvClient(base_url) as client:
        client.reset()
        status, health = status_of(f"{base_url}/health")
        assert (status, health["status"], health["reasons"]) == (200, "degraded", ["all sessions are taken"])
    served.state.sessions._abandoned = {"one": 0.0, "other": 0.0}
    with running(served) as base_url:
        status, health = status_of(f"{base_url}/health")
        assert (status, health["status"], health["abandoned_threads"]) == (200, "degraded", 2)
        assert figures(base_url)["abandoned_threads"] == 2


def test_three_environments_that_cannot_be_made_are_unhealthy_until_one_can() -> None:
    broken = False

    def factory() -> Counter:
        if broken:
            raise OSError("no display")
        return Counter()

    with running(app(factory)) as base_url, GenericEnvClient(base_url) as first:
        first.reset()  # with the environment that the server made when it started
        broken = True
        for expected in ("healthy", "healthy", "unhealthy"):
            with pytest.raises(OpenEnvError), GenericEnvClient(base_url) as client:
                client.reset()
            status, health = status_of(f"{base_url}/health")
            assert (status, health["status"]) == (503 if expected == "unhealthy" else 200, expected)
        assert health["reasons"] == ["the last 3 environments could not be made"]
        assert figures(base_url)["errors_total{FACTORY_ERROR}"] == 3
        broken = False
        with GenericEnvClient(base_url) as client:
            client.reset()
            assert status_of(f"{base_url}/health")[0] == 200


@pytest.mark.slow
def test_an_event_loop_that_stood_still_is_unhealthy_for_a_while() -> None:
    class Blocking(Counter):
        async def step_async(self, action: CountAction) -> CountObservation:
            time.sleep(2.7)
            return super().step(action)

    with running(app(Blocking)) as base_url, GenericEnvClient(base_url) as client:
        assert status_of(f"{base_url}/health")[0] == 200
        client.reset()
        client.step({"amount": 1})
        status, health = status_of(f"{base_url}/health")
        assert (status, health["status"]) == (503, "unhealthy")
        assert re.fullmatch(r"the event loop was blocked for 2\.\d s", health["reasons"][0])
        time.sleep(10.5)
        assert status_of(f"{base_url}/health")[0] == 200


# --- logs -------------------------------------------------------------------------------------------


def test_json_logs_are_one_object_a_line(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path, LOG_FORMAT="json", LOG_LEVEL="INFO") as server:
        begun = datetime.now(UTC)
        with GenericEnvClient(server.base_url) as client:
            client.reset()
            for fail in ("too\nbad", "thread"):
                if fail == "thread":
                    client.step({"fail": fail})
                else:
                    with pytest.raises(RemoteError):
                        client.step({"fail": fail})
        status_of(f"{server.base_url}/schema")
        server.signal(signal.SIGTERM)
        assert server.ends()[0] == 0
    records = [json.loads(line) for line in server.lines]
    for record in records:
        when = datetime.fromisoformat(record["time"])
        assert when.utcoffset() == timedelta(0)
        assert abs(when - begun) < timedelta(minutes=1)
        assert {"level", "logger", "message"} <= set(record)
    assert {"openenv_server", "uvicorn.error", "uvicorn.access", "author"} <= {r["logger"] for r in records}
    opened, closed = (
        [r for r in records if r["message"].startswith("session ") and word in r["message"]]
        for word in ("opened", "closed")
    )
    assert [r["session"] for r in opened] == [r["session"] for r in closed]
    assert re.fullmatch(r"[0-9a-f]{8}", opened[0]["session"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", opened[0]["client"])
    failed, broken = (r for r in records if "traceback" in r)
    assert (failed["level"], failed["session"]) == ("error", opened[0]["session"])
    assert failed["traceback"].endswith("RuntimeError: too\nbad")
    assert (broken["message"], broken["traceback"].splitlines()[-1]) == (
        "the thread broken failed",
        "ZeroDivisionError: division by zero",
    )
    assert Counts(r["logger"] for r in records)["author"] == 1


@pytest.mark.slow
def test_text_logs_have_warnings_only_and_name_the_slot_in_json(tmp_path: Path) -> None:
    for variables in ({}, {"LOG_FORMAT": "json"}):
        with serving_sleeper(tmp_path, **variables) as server:
            envs = RemoteVectorEnv(server.base_url, 2)
            envs.reset()
            with pytest.raises(RemoteError):
                envs.step({"seconds": np.zeros(2), "fail": ("", "bad")})
            envs.close()
            server.signal(signal.SIGTERM)
            assert server.ends()[0] == 0
        if variables:
            said, failed = map(json.loads, server.lines)
            assert (said["logger"], said["level"]) == ("author", "warning")
            assert (failed["slot"], failed["request_id"]) == (1, 3)
            error_id = failed["error_id"]
            assert (
                failed["message"] == f"the environment raised in slot 1 [error_id {error_id}, request_id 3]"
            )
        else:
            first = r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00 WARNING author: the author's own words\n"
            assert re.fullmatch(first, server.lines[0])
            assert server.lines[-1] == "  RuntimeError: bad\n"


# --- settings ---------------------------------------------------------------------------------------


def test_the_document_names_each_setting_and_each_metric() -> None:
    text = DOCUMENT.read_text()
    table = text.partition("## Environment variables")[2].partition("##")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert rows == [name.upper() for name in Settings.model_fields]
    with running(app()) as base_url, urllib.request.urlopen(f"{base_url}/metrics", timeout=5) as response:
        served = {
            family.name if family.type != "counter" else f"{family.name}_total"
            for family in text_string_to_metric_families(response.read().decode())
        }
    assert served == set(re.findall(r"^\| `((?:openenv|process)_\w+)` \|", text, re.MULTILINE))
