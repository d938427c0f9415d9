"""The manifest for Kubernetes, against Kubernetes' own schemas and our own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from openenv_server.settings import Settings, variables

MANIFEST = Path(__file__).parents[2] / "docs" / "kubernetes.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))


@pytest.mark.parametrize("manifest", OBJECTS, ids=lambda manifest: str(manifest["kind"]))
def test_it_is_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_an_object_with_a_misspelt_field_is_not() -> None:
    wrong = {**OBJECTS[0], "spec": {**OBJECTS[0]["spec"], "clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_its_parts_fit_together_and_its_variables_are_the_servers() -> None:
    service, stateful_set = OBJECTS
    assert stateful_set["spec"]["serviceName"] == service["metadata"]["name"]
    pod = stateful_set["spec"]["template"]
    assert pod["metadata"]["labels"] == stateful_set["spec"]["selector"]["matchLabels"]
    assert pod["metadata"]["labels"] == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    assert {variable["name"] for variable in container["env"]} <= {name for name, _ in variables()}
    assert pod["spec"]["terminationGracePeriodSeconds"] > Settings().drain_timeout
