"""Python code that does what the form of a playground does. Pure: texts in, texts out.

Interface::

    for kind in KINDS:                      # "gym.make", "gym.make_vec", "Client", "TRL"
        code(kind, base_url, schema, action, seed, options=None, tools=None, needs_key=False)
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from openenv_gym.errors import OpenEnvError
from openenv_gym.spaces import compile_action
from openenv_gym.spaces.tools import takes_tool_calls, with_tools

_WIDTH = 88
_NUM_ENVS = 8


class _Call(NamedTuple):
    """What a snippet does.

    Attributes:
        url: The server, as a literal of Python.
        reset: The arguments of a Gymnasium environment's ``reset``.
        client_reset: The arguments of a client's ``reset``.
        row: They as further entries of a dictionary.
        action: The action as JSON values.
        schema: The schema of actions, with the tools.
        has_tools: Whether actions call tools.
    """

    url: str
    reset: str
    client_reset: str
    row: str
    action: Any
    schema: Mapping[str, Any]
    has_tools: bool


def code(
    kind: str,
    base_url: str,
    schema: Mapping[str, Any],
    action: Any,
    seed: int | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    needs_key: bool = False,
) -> str:
    """Return a program that resets an environment, takes an action, and prints what follows.

    Args:
        kind: One of `KINDS`.
        base_url: The server's address, as programs reach it.
        schema: The JSON schema of actions.
        action: The action as JSON values.
        seed: The seed of the reset.
        options: Further keywords of the environment's ``reset``.
        tools: The tools that actions call.
        needs_key: Whether the server asks for a key.
    """
    options = dict(options or {})
    keywords = {} if seed is None else {"seed": seed}
    call = _Call(
        url=literal(base_url),
        reset=_arguments({**keywords, **({"options": options} if options else {})}),
        client_reset=_arguments({**keywords, **options}),
        row="".join(f", {_line(name)}: {_line(value)}" for name, value in {**keywords, **options}.items()),
        action=action,
        schema=with_tools(schema, tools) if tools and takes_tool_calls(schema) else schema,
        has_tools=bool(tools) and takes_tool_calls(schema),
    )
    key = "# The server asks for a key: set the variable OPENENV_API_KEY.\n" if needs_key else ""
    return key + _WRITERS[kind](call)


def _gym_make(call: _Call) -> str:
    action = _element(call) or f"env.unwrapped.action_from_json({literal(call.action)})"
    return f"""import gymnasium as gym
import openenv_gym  # registers the names of environments

env = gym.make("openenv/remote", base_url={call.url})
observation, info = env.reset({call.reset})
action = {action}
observation, reward, terminated, truncated, info = env.step(action)
print(observation, reward, terminated, truncated)
env.close()
"""


def _gym_make_vec(call: _Call) -> str:
    return f"""import gymnasium as gym
import openenv_gym  # registers the names of environments

envs = gym.make_vec("openenv/remote", num_envs={_NUM_ENVS}, base_url={call.url})
observations, infos = envs.reset({call.reset})
action = {literal(call.action)}
actions = envs.unwrapped.actions_from_json([action] * envs.num_envs)
observations, rewards, terminations, truncations, infos = envs.step(actions)
print(observations, rewards, terminations, truncations)
envs.close()
"""


def _client(call: _Call) -> str:
    if call.has_tools and _is_call(call.action):
        name, arguments = call.action["tool_name"], call.action.get("arguments") or {}
        given = "".join(f", {part}" for part in [_arguments(arguments)] if part)
        return f"""from openenv_gym.tool_client import ToolClient

with ToolClient({call.url}) as client:
    client.reset({call.client_reset})
    print(client.call_tool({literal(name)}{given}))
"""
    return f"""from openenv_gym import GenericEnvClient

with GenericEnvClient({call.url}) as client:
    result = client.reset({call.client_reset})
    result = client.step({literal(call.action, 4)})
    print(result.observation, result.reward, result.done)
"""


def _trl(call: _Call) -> str:
    return f"""from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from openenv_gym.integrations.trl import environment_factory, reward_func

environment = environment_factory({call.url})
prompt = [{{"role": "user", "content": "Your task."}}]
trainer = GRPOTrainer(
    model="Qwen/Qwen3-0.6B",
    args=GRPOConfig("checkpoints", max_steps=100, chat_template_kwargs={{"enable_thinking": False}}),
    train_dataset=Dataset.from_list([{{"prompt": prompt{call.row}}}] * 64),
    reward_funcs=reward_func,
    environment_factory=environment,
)
trainer.train()  # the model makes calls like {_model_call(call)}
environment.server.close()
"""


_WRITERS: dict[str, Callable[[_Call], str]] = {
    "gym.make": _gym_make,
    "gym.make_vec": _gym_make_vec,
    "Client": _client,
    "TRL": _trl,
}
KINDS = tuple(_WRITERS)


def _element(call: _Call) -> str | None:
    """Return the action as an element of its space, if that is a number or a text; None if it is larger."""
    try:
        codec = compile_action(call.schema).codec
        element = codec.decode(call.action)
    except (OpenEnvError, ValueError):
        return None  # the program says what is wrong with the action
    if not codec.space.contains(element) or not isinstance(element, str | int | np.integer):
        return None
    value = next(iter(call.action.values())) if isinstance(call.action, dict) else call.action
    shown = literal(element if isinstance(element, str) else int(element))
    return shown if literal(value) == shown else f"{shown}  # {literal(value)}"


def _model_call(call: _Call) -> str:
    """Return the action as a model calls it, on one line."""
    if call.has_tools and _is_call(call.action):
        name, arguments = call.action["tool_name"], call.action.get("arguments") or {}
    else:
        name, arguments = "step", call.action if isinstance(call.action, dict) else {}
    shown = f"{name}({_arguments(arguments)})"
    return f"{shown[:_WIDTH]}…" if len(shown) > _WIDTH else shown


def _is_call(action: Any) -> bool:
    return isinstance(action, dict) and action.get("type") == "call_tool" and "tool_name" in action


def _arguments(keywords: Mapping[str, Any]) -> str:
    """Return keywords as the arguments of a call, whatever their names are."""
    named = {name: value for name, value in keywords.items() if name.isidentifier()}
    named = {name: value for name, value in named.items() if not keyword.iskeyword(name)}
    others = {name: value for name, value in keywords.items() if name not in named}
    parts = [f"{name}={_line(value)}" for name, value in named.items()]
    return ", ".join([*parts, f"**{_line(others)}"] if others else parts)


def literal(value: Any, indent: int = 0) -> str:
    """Return a JSON value as Python: on one line if that is short, else with a line for each part.

    Args:
        value: The value.
        indent: How many spaces are before the line on which it begins.
    """
    line = _line(value)
    if indent + len(line) < _WIDTH or not isinstance(value, dict | list):
        return line
    inner, outer = " " * (indent + 4), " " * indent
    if isinstance(value, dict):
        parts = [f"{_line(name)}: {literal(part, indent + 4)}" for name, part in value.items()]
        opening, closing = "{", "}"
    else:
        parts = [literal(part, indent + 4) for part in value]
        opening, closing = "[", "]"
    if isinstance(value, list) and all(isinstance(part, int | float) for part in value):
        lines = f"{fill(', '.join(parts), _WIDTH - 1, initial_indent=inner, subsequent_indent=inner)},\n"
    else:
        lines = "".join(f"{inner}{part},\n" for part in parts)
    return f"{opening}\n{lines}{outer}{closing}"


def _line(value: Any) -> str:
    match value:
        case dict():
            return f"{{{', '.join(f'{_line(name)}: {_line(part)}' for name, part in value.items())}}}"
        case list():
            return f"[{', '.join(map(_line, value))}]"
    text = repr(value)
    is_plain = text.startswith("'") and '"' not in text and "\\" not in text
    return f'"{text[1:-1]}"' if is_plain else text
