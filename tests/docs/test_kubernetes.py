"""The manifests for Kubernetes, against Kubernetes' own schemas, our own settings, and a server that runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from openenv_server.settings import Settings, variables

from openenv_gym import GenericEnvClient
from tests.support.engine import free_port
from tests.support.servers import status_of
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text()))
MONITORING: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "docs" / "kubernetes-monitoring.yaml").read_text())
)
BY_KIND = {found["kind"]: found for found in (*OBJECTS, *MONITORING)}
POD = BY_KIND["StatefulSet"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PROBES = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}


@pytest.mark.parametrize("manifest", OBJECTS, ids=lambda manifest: str(manifest["kind"]))
def test_it_is_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_an_object_with_a_misspelt_field_is_not() -> None:
    wrong = {**OBJECTS[0], "spec": {**OBJECTS[0]["spec"], "clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_its_parts_fit_together_and_its_variables_are_the_servers() -> None:
    service, stateful_set = BY_KIND["Service"], BY_KIND["StatefulSet"]
    labels = POD["metadata"]["labels"]
    assert stateful_set["spec"]["serviceName"] == service["metadata"]["name"]
    assert labels == stateful_set["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert labels == BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    assert labels == BY_KIND["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert BY_KIND["ServiceMonitor"]["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert BY_KIND["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == stateful_set["metadata"]["name"]
    assert {variable["name"] for variable in CONTAINER["env"]} <= {name for name, _ in variables()}
    assert POD["spec"]["terminationGracePeriodSeconds"] > Settings().drain_timeout
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    values = {variable["name"]: variable.get("value") for variable in CONTAINER["env"]}
    assert ports == {"http": Settings().port, "live": int(values["LIVE_PORT"])}
    assert {
        port["port"] for rule in BY_KIND["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]
    } == {"http"}
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert Path(values["OPENENV_API_KEY_FILE"]).parent.as_posix() in mounts
    assert set(mounts.values()) == {volume["name"] for volume in POD["spec"]["volumes"]}
    (trigger,) = BY_KIND["ScaledObject"]["spec"]["triggers"]
    assert int(trigger["metadata"]["threshold"]) < int(values["MAX_CONCURRENT_ENVS"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_server_runs_as_it_says(tmp_path: Path) -> None:
    """Another user, a read-only root with a writable /tmp, its variables, its secret, and its probes."""
    ports = {port["name"]: free_port() for port in CONTAINER["ports"]}
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "api-key").write_text("sesame-of-a-pod\n")
    values = {variable["name"]: variable.get("value", "sesame-3") for variable in CONTAINER["env"]}
    values |= {
        "PORT": str(ports["http"]),
        "LIVE_PORT": str(ports["live"]),
        "HOME": "/tmp",
        "OPENENV_API_KEY_FILE": "/tmp/keys/api-key",
    }
    user = str(POD["spec"]["securityContext"]["runAsUser"])
    sandbox = [
        "bwrap",
        "--die-with-parent",
        "--unshare-user",
        "--uid",
        user,
        "--gid",
        user,
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
    ]
    sandbox += ["--proc", "/proc", "--tmpfs", "/tmp", "--ro-bind", str(secret), "/tmp/keys"]
    for folder in (ROOT, Path(sys.prefix)):
        sandbox += ["--ro-bind", str(folder), str(folder)]
    server = subprocess.Popen(
        [*sandbox, sys.executable, "-m", "openenv_server", "envs/grid_world_env"],
        cwd=ROOT,
        env={**os.environ, **values},
        stdout=subprocess.DEVNULL,
    )
    try:
        for probe in PROBES.values():
            url = f"http://127.0.0.1:{ports[probe['port']]}{probe['path']}"
            wait_for(lambda url=url: server.poll() is not None or answers(url), 30)
            assert status_of(url)[0] == 200
        base_url = f"http://127.0.0.1:{ports['http']}"
        assert status_of(f"{base_url}/schema")[0] == 401
        with GenericEnvClient(base_url, api_key="sesame-of-a-pod") as client:
            client.reset()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(POD["spec"]["terminationGracePeriodSeconds"])


def answers(url: str) -> bool:
    try:
        return status_of(url)[0] == 200
    except OSError:
        return False


def test_the_document_about_scaling_names_both_files() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    assert set(re.findall(r"\((kubernetes[\w-]*\.yaml)\)", text)) == {
        "kubernetes.yaml",
        "kubernetes-monitoring.yaml",
    }
