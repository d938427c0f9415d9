"""The notebook that builds and publishes an environment, with an engine and a registry."""

from __future__ import annotations

import pytest

from tests.notebooks.runs import NOTEBOOKS, WITH_DOCKER, check_outputs, run
from tests.support.engine import Engine


@pytest.mark.timeout(1200)  # once, the libraries are installed
@pytest.mark.usefixtures("python_image")
def test_the_notebook_runs_from_top_to_bottom(
    docker_host: Engine, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY", registry)
    (path,) = (path for path in NOTEBOOKS if path.name == WITH_DOCKER)
    check_outputs(run(path))
    # Other tests have images and containers with other names.
    assert "walk-env" not in docker_host.docker("image", "ls")
    assert "walk-env" not in docker_host.docker("ps", "--all")
