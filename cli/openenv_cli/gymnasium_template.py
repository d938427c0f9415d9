"""What the template of ``openenv init --gym`` needs to know about a Gymnasium environment."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from openenv_server.gymnasium_maker import GymnasiumMaker

_LINE_LENGTH = 110


class ServedEnv(NamedTuple):
    """A Gymnasium environment, as the template has it.

    Attributes:
        details: Values for the template's texts and code.
        requirements: The distributions that the environment and its wrappers need, besides Gymnasium.
    """

    details: dict[str, Any]
    requirements: list[str]


def describe(maker: GymnasiumMaker) -> ServedEnv:
    """Make the environment, take a step, and describe it.

    Raises:
        ConfigurationError: It cannot be made.
        SchemaError: It cannot be served.
    """
    from openenv_server.gymnasium_environment import SpaceField
    from openenv_server.gymnasium_maker import qualified_id

    from openenv_gym.spaces import build_space, describe_space

    env_id = qualified_id(maker.env_id)  # first, because making it registers the id
    before = set(sys.modules)
    env = maker()
    env.reset(seed=0)
    env.step(env.action_space.sample())
    requirements = _requirements({module.partition(".")[0] for module in set(sys.modules) - before})
    arguments = [
        json.dumps(env_id),
        "disable_env_checker=True",
        *_keywords(maker.keywords),
    ]
    statements = [_call("env: gym.Env[Any, Any] = gym.make", arguments)]
    imports: dict[str, set[str]] = {}
    for path, keywords in maker.wrappers:
        module, _, name = path.partition(":")
        imports.setdefault(module, set()).add(name.partition(".")[0])
        statements.append(_call(f"env = {name}", ["env", *_keywords(keywords)]))
    details = {
        "gym_id": env_id.rpartition(":")[2],
        "imports": [
            f"from {module} import {', '.join(sorted(imports[module]))}" for module in sorted(imports)
        ],
        "untyped_modules": sorted(module for module in imports if module.partition(".")[0] != "gymnasium"),
        "statements": statements,
        "sampled_action": _source(SpaceField(env.action_space).codec.encode(env.action_space.sample())),
        **{
            f"{name}_space": f"an element of `{_one_line(build_space(describe_space(space)))}`"
            for name, space in (("action", env.action_space), ("observation", env.observation_space))
        },
    }
    env.close()
    return ServedEnv(details, requirements)


def _requirements(packages: set[str]) -> list[str]:
    """Return the distributions of imported packages, without those that another of them always installs."""
    distributions = metadata.packages_distributions()
    names = {name for package in packages for name in distributions.get(package, ())[:1]}
    needed = (requirement for name in names for requirement in metadata.requires(name) or ())
    installed = {re.split(r"[^\w.-]", part)[0] for part in needed if "extra ==" not in part}
    ours = {"openenv-gym", "gymnasium", "numpy"}
    return sorted(f"{name}>={metadata.version(name)}" for name in names - installed - ours)


def _one_line(space: object) -> str:
    return " ".join(str(space).split())


def _keywords(values: Mapping[str, Any]) -> Iterable[str]:
    return (f"{name}={_source(value)}" for name, value in values.items())


def _source(value: Any) -> str:
    """Return the Python source of a JSON value, with double quotes."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_source, value))}]"
        case dict():
            return f"{{{', '.join(f'{_source(key)}: {_source(part)}' for key, part in value.items())}}}"
        case _:
            return repr(value)


def _call(function: str, arguments: list[str]) -> str:
    """Return a statement with a call, formatted as ruff does."""
    line = f"    {function}({', '.join(arguments)})"
    if len(line) <= _LINE_LENGTH:
        return line
    return "\n".join([f"    {function}(", *(f"        {argument}," for argument in arguments), "    )"])
