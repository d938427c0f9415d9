"""Every public name of the published package is at the same path here, or is left out for a reason."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop.public_names import describe

HERE = Path(__file__).parent

# Modules, with those inside them.
LEFT_OUT_MODULES = {
    "openenv.auto._discovery": "internal; AutoEnv finds installed packages without a cache",
    "openenv.auto.auto_action": "openenv.auto has the name",
    "openenv.auto.auto_env": "openenv.auto has the name",
    "openenv.cli": "commands, not an API; ours are in openenv_cli",
    "openenv.core.containers.runtime._server_config": "internal",
    "openenv.core.containers.runtime.aca_provider": "a cloud's sandboxes; provider= takes its class",
    "openenv.core.containers.runtime.daytona_provider": "a cloud's sandboxes; provider= takes its class",
    "openenv.core.containers.runtime.hf_sandbox_provider": "a cloud's sandboxes; provider= takes its class",
    "openenv.core.containers.runtime.modal_provider": "a cloud's sandboxes; provider= takes its class",
    "openenv.core.containers.runtime.novita_provider": "a cloud's sandboxes; provider= takes its class",
    "openenv.core.containers.test_local_docker_provider": "a test",
    "openenv.core.env_server._utils": "internal",
    "openenv.core.env_server.gradio_theme": "the look of the Gradio interface; ours is one page without it",
    "openenv.core.env_server.gradio_ui": "the Gradio interface; ours is one page without it",
    "openenv.core.evals": "runs evaluations with Inspect AI, which needs only a client",
    "openenv.core.harness": "captures what coding agents send to models; no environment needs it",
    "openenv.core.utils": "internal",
    "openenv.discovery": "searches the Hub for the published command; ours is `openenv list`",
    "openenv.harbor": "runs Harbor's tasks and agents; no environment needs it",
    "openenv.validation": "the published command's checks; ours are `openenv validate`",
}
# smolagents, which environments that run Python code name among their dependencies.
WITHOUT_THEIR_PACKAGE = {"openenv.core.tools.local_python_executor": "No module named 'smolagents'"}

LEFT_OUT_NAMES = {
    # Type variables of methods' own annotations.
    "openenv.core.env_client": {"EnvClientT", "ResultT"},
    "openenv.core.sync_client": {"ActT", "ObsT"},
    # Parsed and made by the two classes themselves.
    "openenv.core.mcp_client": {"GenericMCPObservation"},
    "openenv.core.env_server.mcp_environment": {"get_server_tools"},
    # Parts of the Gradio interface; `WebInterfaceManager` is None, as it is there without Gradio.
    "openenv.core.env_server.web_interface": {"ActionLog", "EpisodeState", "get_quick_start_markdown"},
}

# What a name means differs where the reason is given; everything else has the same parameters, at least.
OTHER_PARAMETERS = {
    "EnvClient": "its keywords are compared with the client's behaviour",
    "GenericEnvClient": "its keywords are compared with the client's behaviour",
    "MCPClientBase": "its keywords are compared with the client's behaviour",
    "MCPToolClient": "its keywords are compared with the client's behaviour",
    "HTTPEnvServer": "get_session_info is not here; the server's metrics count sessions",
    "MCPEnvironment": "render_web and web_actions draw in the Gradio interface",
    "WebInterfaceManager": "None, as in the published package without Gradio",
    "Environment": "render_web and web_actions draw in the Gradio interface",
    "SyncEnvClient": "its methods are those of the client, which it is asked for",
    "StepResult": "it has truncated besides",
}


@pytest.fixture(scope="module")
def published(peer_python: Path) -> dict[str, Any]:
    printed = subprocess.run(
        [str(peer_python), str(HERE / "public_names.py"), *LEFT_OUT_MODULES],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    found: dict[str, Any] = json.loads(printed)
    unimportable = {module: reason for module, reason in found.items() if isinstance(reason, str)}
    assert unimportable == WITHOUT_THEIR_PACKAGE
    return {module: names for module, names in found.items() if module not in unimportable}


def test_every_name_is_here_but_for_those_that_are_left_out(published: dict[str, Any]) -> None:
    missing = {
        module: gone
        for module, names in published.items()
        if (gone := {name for name in names if not hasattr(importlib.import_module(module), name)})
    }
    assert missing == LEFT_OUT_NAMES


@pytest.mark.parametrize("module", ["openenv", "openenv.core", "openenv.core.env_server"])
def test_a_star_imports_the_same_names(published: dict[str, Any], module: str) -> None:
    assert set(published[module]) <= set(importlib.import_module(module).__all__)


@pytest.mark.parametrize("module", WITHOUT_THEIR_PACKAGE)
def test_a_module_needs_the_same_package(module: str) -> None:
    if importlib.util.find_spec("smolagents") is None:
        with pytest.raises(ModuleNotFoundError, match=WITHOUT_THEIR_PACKAGE[module]):
            importlib.import_module(module)
    else:
        assert importlib.import_module(module).PyExecutor


def test_names_mean_the_same(published: dict[str, Any]) -> None:
    different = []
    for module, names in published.items():
        for name, theirs in names.items():
            ours = getattr(importlib.import_module(module), name, None)
            if ours is None or inspect.ismodule(ours) or name in OTHER_PARAMETERS:
                continue
            different += [f"{module}.{name}: {what}" for what in differences(theirs, describe(ours))]
    assert different == []


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    members = ours.get("members", {})
    found = [
        f"member {name}" for name, value in theirs.get("members", {}).items() if members.get(name) != value
    ]
    fields = ours.get("fields", {})
    found += [
        f"field {name}" for name, needed in theirs.get("fields", {}).items() if fields.get(name) != needed
    ]
    here = {"()": ours.get("parameters", []), **ours.get("methods", {})}
    for name, parameters in {"()": theirs.get("parameters", []), **theirs.get("methods", {})}.items():
        if name not in here or here[name][: len(parameters)] != parameters:
            found.append(f"{name}{parameters}, here {here.get(name)}")
    return found


def test_the_former_root_has_the_same_names() -> None:
    for module in ("openenv_core", "openenv_core.rubrics", "openenv_core.env_server.types"):
        current = importlib.import_module(module.replace("openenv_core", "openenv.core"))
        former = importlib.import_module(module)
        assert [getattr(former, name) for name in current.__all__] == [
            getattr(current, name) for name in current.__all__
        ]
