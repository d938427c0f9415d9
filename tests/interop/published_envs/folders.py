"""Writes the folders of the stand-ins."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from tests.interop.published_envs.table import Published

CORE = "openenv.core.env_server"


def write(published: Published, parent: Path) -> Path:
    """Write an environment's folder, and return it."""
    name = published.name
    module = f"{name.removesuffix('_env')}_environment"
    files = {
        "__init__.py": "",
        "models.py": _models(published),
        "README.md": f"# {name}\n",
        "pyproject.toml": f'[project]\nname = "openenv-{name.replace("_", "-")}"\nversion = "0.1.0"\n',
        "server/__init__.py": "",
        f"server/{module}.py": _environment(published),
        "server/app.py": _app(published, module),
    }
    if published.has_manifest:
        files["openenv.yaml"] = (
            f"spec_version: 1\nname: {name}\ntype: space\nruntime: fastapi\napp: server.app:app\nport: 8000\n"
        )
    for path, text in files.items():
        file = parent / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return parent / name


def _indented(text: str) -> str:
    return textwrap.indent(text.strip("\n") or "pass", "    ")


def _models(published: Published) -> str:
    base = f"{CORE}.{published.imports}".rstrip(".")
    lines = [line for line in published.models.strip().splitlines() if "__future__" in line]
    others = [line for line in published.models.strip().splitlines() if "__future__" not in line]
    lines += ["from typing import Any", "from pydantic import Field"]
    if published.imports == "openenv_core":
        lines += [
            "try: from openenv_core.env_server.types import Action, Observation, State",
            f"except ImportError: from {CORE}.types import Action, Observation, State",
        ]
    elif published.imports != "none":
        lines.append(f"from {base} import Action, Observation, State")
    lines += others
    classes = {"State": published.state}
    if not published.tools:
        classes |= {"Action": published.action, "Observation": published.observation}
    for kind, fields in classes.items():
        if fields:
            lines.append(f"class {published.prefix}{kind}({kind}):\n{_indented(fields)}")
    return "\n".join(lines) + "\n"


def _names(published: Published) -> list[str]:
    kinds = ["State"] if published.state else []
    if not published.tools:
        kinds += ["Action", "Observation"]
    return [f"{published.prefix}{kind}" for kind in kinds]


def _imports(published: Published, names: list[str], module: str, relative: str) -> str:
    """The import of names from a module of the folder, in the way of its layout."""
    if not names:
        return ""
    listed = ", ".join(names)
    relative_import = f"from {relative} import {listed}"
    package_import = f"from {published.name}.{module} import {listed}"
    flat_import = f"from {module} import {listed}"
    return {
        "either": f"try: {relative_import}\nexcept ImportError: {flat_import}",
        "package": package_import,
        "relative": relative_import,
        "flat": flat_import if module == "models" else relative_import,
    }[published.layout]


def _environment(published: Published) -> str:
    prefix = published.prefix
    future = [line for line in published.head.splitlines() if "__future__" in line]
    head = "\n".join(line for line in published.head.splitlines() if "__future__" not in line)
    state = f"{prefix}State" if published.state else "State"
    base = "MCPEnvironment" if published.tools else f"Environment{published.bases}"
    lines = [
        *future,
        "from typing import Any",
        "from uuid import uuid4",
        f"from {CORE}.interfaces import Environment",
        f"from {CORE}.types import Observation, State",
        _imports(published, _names(published), "models", "..models"),
        *(
            ["from fastmcp import FastMCP", f"from {CORE}.mcp_environment import MCPEnvironment"]
            * bool(published.tools)
        ),
        head,
        f"class {prefix}Environment({base}):",
    ]
    body = [f'"""The {published.name}."""', published.body.strip("\n")]
    if published.is_concurrent or published.tools:
        body.append("SUPPORTS_CONCURRENT_SESSIONS = True")
    body.append("def __init__(self):")
    if published.tools:
        body.append(_indented(f'mcp = FastMCP("{published.name}")'))
        for tool in published.tools.strip().splitlines():
            signature, does = re.findall(r"^(.*\) -> \w+): (.*)$", tool)[0]
            title = signature.partition("(")[0].replace("_", " ").capitalize()
            body.append(_indented(f'@mcp.tool\ndef {signature}:\n    """{title}"""\n    {does}'))
    made_with = "mcp" if published.tools else published.made_with
    body.append(_indented(f"super().__init__({made_with})\nself._state = {state}(step_count=0)"))
    first = "Observation(done=False, reward=0.0, metadata={'status': 'ready'})"
    if not published.tools:
        first = f"{prefix}Observation({published.values})"
    body += [
        f"def reset(self{published.reset}):",
        "    if getattr(self, 'rubric', None) is not None: self._reset_rubric()" * bool(published.made_with),
        f"    self._state = {state}(episode_id=str(uuid4()), step_count=0)",
        f"    return {first}",
    ]
    if published.tools:
        body += [
            "def _step_impl(self, action, timeout_s=None, **kwargs):",
            "    return Observation(done=False, reward=0.0, metadata={'error': type(action).__name__})",
            "def step(self, action, timeout_s=None, **kwargs):",
            "    self._state.step_count += 1",
            "    return super().step(action, timeout_s=timeout_s, **kwargs)",
        ]
        if "step_async" not in published.body:
            body += [
                "async def step_async(self, action, timeout_s=None, **kwargs):",
                "    self._state.step_count += 1",
                "    return await super().step_async(action, timeout_s=timeout_s, **kwargs)",
            ]
    else:
        acts = "self.act(action)" if "def act(" in published.body else first
        body += [
            f"def step(self, action{published.step}):",
            "    self._state.step_count += 1",
            f"    observation = {acts}",
            "    observation.done = self._state.step_count >= 3",
            "    observation.reward = 1.0"
            + "\n    observation.reward = self._apply_rubric(action, observation)"
            * ("rubric" in published.made_with),
            "    return observation",
        ]
    body += ["@property", "def state(self): return self._state"]
    return "\n".join(lines) + "\n" + _indented("\n".join(filter(None, body))) + "\n"


def _app(published: Published, module: str) -> str:
    environment = f"{published.prefix}Environment"
    action, observation = f"{published.prefix}Action", f"{published.prefix}Observation"
    models = "" if published.tools else _imports(published, [action, observation], "models", "..models")
    if published.tools:
        action, observation = "CallToolAction", "CallToolObservation"
        models = f"from {CORE}.mcp_types import CallToolAction, CallToolObservation"
    factory = {"class": environment, "function": "make_environment", "lambda": f"lambda: {environment}()"}
    return "\n".join(
        [
            f"from {CORE}{'.http_server' * (published.imports == 'types')} import create_app",
            models,
            _imports(published, [environment], f"server.{module}", f".{module}"),
            published.before,
            f"def make_environment(): return {environment}()",
            f"app = create_app({factory[published.makes]}, {action}, {observation},"
            f' env_name="{published.title or published.name}"{published.options})',
            published.after,
            "def main():",
            "    import uvicorn",
            '    uvicorn.run(app, host="127.0.0.1", port=8000)',
        ]
    )
