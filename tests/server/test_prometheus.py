"""The metrics, the alerts and the dashboard, as a real Prometheus sees them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.providers.process import ProcessProvider
from tests.server.test_metrics import app, samples, scrape
from tests.support.engine import free_port
from tests.support.servers import running, status_of
from tests.support.waiting import wait_for

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DOCS / "grafana.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
# Prometheus makes this one itself.
OF_PROMETHEUS = {"up"}

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed",
)


def names_in(expression: str) -> set[str]:
    """The metrics that an expression names."""
    without_labels = re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression)
    return set(re.findall(r"\b(up|openenv_\w+|process_\w+)\b", without_labels))


@pytest.mark.parametrize("expression", [rule["expr"] for rule in RULES] + QUERIES)
def test_alerts_and_dashboard_name_metrics_that_exist(expression: str, scraped: str) -> None:
    served = {name for name, _ in samples(scraped)}
    labels = set(re.findall(r'[{,](\w+)="', scraped)) | {"instance", "job"}
    assert names_in(expression)
    assert names_in(expression) <= served | OF_PROMETHEUS
    grouped = {label for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(", ")}
    chosen = set(re.findall(r"(\w+)(?:=~|!=|!~|=)\"", expression))
    assert grouped | chosen <= labels


@pytest.fixture(scope="module")
def scraped() -> Iterator[str]:
    """A scrape after a step, an error and a refusal."""
    with running(app(OPENENV_API_KEY="sesame")) as base_url:
        status_of(f"{base_url}/schema")
        status_of(f"{base_url}/step", {"action": {"amount": 1}}, key="sesame")
        with GenericEnvClient(base_url, api_key="sesame") as client:
            client.reset()
            client.step({"amount": 1})
        yield scrape(base_url, "sesame")


def test_each_alert_says_what_happened_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 30


@needs_prometheus
def test_promtool_takes_the_rules_and_the_metrics(scraped: str) -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Run Prometheus with our alerts, scraping a server each second; yield its address."""
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "openenv", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.terminate()
        process.wait(20)


def asked(api: str, query: str) -> list[Any]:
    """The result of a query; empty while Prometheus starts."""
    try:
        status, found = status_of(f"{api}/query?{urllib.parse.urlencode({'query': query})}")
    except (OSError, ValueError):
        return []
    assert (status, found["status"]) == (200, "success"), found
    return list(found["data"]["result"])


def value_of(api: str, query: str) -> float | None:
    found = asked(api, query)
    return float(found[0]["value"][1]) if found else None


@needs_prometheus
@pytest.mark.slow
def test_a_real_prometheus_adds_up_three_workers_to_what_the_trainer_counted(tmp_path: Path) -> None:
    with (
        ProcessProvider(gym="CartPole-v1", max_sessions=8, workers=3) as server,
        prometheus(tmp_path, server.base_url.removeprefix("http://")) as api,
    ):
        envs = RemoteVectorEnv(server.base_url, 18)
        envs.reset(seed=1)
        ended = np.zeros(18, bool)
        steps, episodes = 0, 18
        generator = np.random.default_rng(1)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            _, _, terminated, truncated, _ = envs.step(generator.integers(0, 2, 18))
            # In NEXT_STEP, the step after an episode's end begins the next one instead.
            steps, episodes = steps + int((~ended).sum()), episodes + int(ended.sum())
            ended = terminated | truncated
            time.sleep(0.002)
        for query, counted in (
            ("sum(openenv_steps_total)", steps),
            ("sum(openenv_resets_total)", episodes),
            ("sum(openenv_sessions_active)", 18),
            ("sum(openenv_sessions_opened_total)", 18),
            ("sum(openenv_step_seconds_count)", steps + episodes - 18),
            ("count(openenv_worker_up)", 3),
        ):
            wait_for(lambda query=query, counted=counted: value_of(api, query) == counted, 15)
        print(f"{steps} steps and {episodes} episodes, as Prometheus adds them up over 3 workers")
        shown = [query.replace("$instance", ".*").replace("$__rate_interval", "30s") for query in QUERIES]
        for query in shown:
            if "errors" not in query:  # there were none
                wait_for(lambda query=query: asked(api, query) != [], 15)
        rules = status_of(f"{api}/rules")[1]["data"]["groups"][0]["rules"]
        assert [rule["name"] for rule in rules] == [rule["alert"] for rule in RULES]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        assert {rule["state"] for rule in rules} == {"inactive"}
        envs.close()
        closed = 'sum(openenv_sessions_closed_total{reason="client_left"})'
        wait_for(lambda: value_of(api, closed) == 18, 15)
