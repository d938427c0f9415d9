"""Train language models with TRL: environments of any server for ``GRPOTrainer(environment_factory=…)``."""

from __future__ import annotations

import inspect
import json
import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Union

from openenv_gym.integrations.text import Parameter, TextServer, TextSession, TextTool
from openenv_gym.schema_keywords import SPACE_KEYWORD
from openenv_gym.spaces.schema import Node, resolve

# Columns of a data set that are TRL's, not the environment's.
_COLUMNS_OF_TRL = frozenset({"prompt", "completion", "image", "images", "tools", "chat_template_kwargs"})
_TAKEN = frozenset({"reset", "get_reward", "reward", "done", "server"})
_SECTION = re.compile(r"\b(Args|Arguments|Parameters|Returns|Raises):")
_ENTRY = re.compile(r"^\s*(\w+)(?: \([^)]*\))?:\s+(.+)$", re.MULTILINE)
_HINTS = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
_HINTS_OF_SPACES = {"Discrete": int, "Text": str, "MultiDiscrete": list[int], "MultiBinary": list[int]}
# What a schema says beside its type.
_LIMITS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "examples",
)


class TRLEnvironment:
    """An environment as TRL's trainers want it; `environment_factory` makes subclasses with methods to call.

    Attributes:
        server: Its server, and that of all other instances; ``server.close()`` ends their sessions.
    """

    server: ClassVar[TextServer]

    def __init__(self) -> None:
        self._session: TextSession = self.server.session()

    @property
    def reward(self) -> float:
        """The sum of the episode's rewards."""
        return self._session.reward

    @property
    def done(self) -> bool:
        """Whether the episode has ended."""
        return self._session.done

    def reset(self, **row: Any) -> str:
        """Begin an episode; return the first observation, which TRL adds to the prompt.

        Args:
            **row: The data set's row. Its columns but the prompt are keywords of the environment's own
                ``reset``; one named ``seed`` makes all completions of a prompt begin alike.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.reset`.
        """
        options = {
            name: value for name, value in row.items() if name not in _COLUMNS_OF_TRL and value is not None
        }
        return self._session.reset(options)


def environment_factory(source: str | None = None, **keywords: Any) -> type[TRLEnvironment]:
    """Return a class for the ``environment_factory=`` of TRL's ``GRPOTrainer``.

    It has one method for each of the environment's tools; for an environment without tools, the method
    ``step`` with a parameter for each field of its action. They return what the environment answers, and
    "Error: …" if the call is wrong or fails. A batch of instances shares one connection, if the server speaks
    version 2 of the protocol.

    Args:
        source: A name, "openenv/NAME"; or a server's address, "http://localhost:8000".
        **keywords: Of `openenv_gym.RemoteEnv`: another source (``path=``, ``gym=``, ``app=``, ``image=``,
            ``space=``), ``provider_options=``, timeouts, ``api_key=``, and others.

    Raises:
        ConfigurationError: ``source`` is neither of the two; and what `openenv_gym.RemoteEnv` raises.

    Example:
        >>> trainer = GRPOTrainer(
        ...     model="Qwen/Qwen3-0.6B",
        ...     train_dataset=dataset,
        ...     reward_funcs=reward_func,
        ...     environment_factory=environment_factory("openenv/my-env"),
        ... )
    """
    server = TextServer(source, **keywords)
    methods: dict[str, Any] = {}
    for tool in server.tools:
        name = _free_name(tool.name, {*methods, *_TAKEN})
        methods[name] = _method(name, tool)
    doc = f"An environment at {server.name}."
    return type("OpenEnvEnvironment", (TRLEnvironment,), {"server": server, "__doc__": doc, **methods})


def reward_func(environments: Sequence[TRLEnvironment], **_: Any) -> list[float]:
    """Return the sum of each episode's rewards, for the ``reward_funcs=`` of TRL's ``GRPOTrainer``."""
    return [float(environment.reward) for environment in environments]


def _method(name: str, tool: TextTool) -> Callable[..., str]:
    """Return a tool as a method with a signature and a docstring."""
    names: dict[str, Parameter] = {}
    for parameter in tool.parameters:
        names[_free_name(parameter.name, {*names, "self"})] = parameter
    hints = {name: _hint(parameter.node) for name, parameter in names.items()}
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature(
        [
            receiver,
            *(
                inspect.Parameter(
                    name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=inspect.Parameter.empty
                    if parameter.is_required
                    else parameter.node.schema.get("default"),
                    annotation=hints[name],
                )
                for name, parameter in names.items()
            ),
        ],
        return_annotation=str,
    )

    def call(self: TRLEnvironment, /, *args: Any, **kwargs: Any) -> str:
        try:
            bound = signature.bind(self, *args, **kwargs).arguments
        except TypeError as error:
            return f"Error: {name}{_shown(signature)}: {error}."
        del bound["self"]
        return self._session.call(tool, {names[key].name: value for key, value in bound.items()})

    call.__name__ = name
    call.__qualname__ = f"{TRLEnvironment.__name__}.{name}"
    call.__doc__ = _docstring(tool, names)
    call.__annotations__ = {**hints, "return": str}
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _shown(signature: inspect.Signature) -> str:
    parameters = list(signature.parameters.values())[1:]
    return f"({', '.join(p.name if p.default is p.empty else f'{p.name}={p.default!r}' for p in parameters)})"


def _free_name(name: str, taken: set[str] | frozenset[str]) -> str:
    """Return a name that Python and TRL take for a public method, and that is not taken."""
    name = re.sub(r"\W", "_", name).lstrip("_") or "tool"
    if name[0].isdigit():
        name = f"n{name}"
    while keyword.iskeyword(name) or name in taken:
        name += "_"
    return name


def _docstring(tool: TextTool, names: dict[str, Parameter]) -> str:
    """Return a docstring in Google's style, from which transformers reads a tool's description."""
    summary, *sections = _SECTION.split(inspect.cleandoc(tool.description), maxsplit=1)
    described = dict(_ENTRY.findall(sections[1])) if sections else {}
    lines = [_one_line(summary) or ("Take one action." if tool.is_action else f"Call {tool.name}.")]
    if names:
        lines += ["", "Args:"]
        for name, parameter in names.items():
            lines.append(f"    {name}: {_description(parameter, described.get(parameter.name, ''))}")
    lines += ["", "Returns:", "    What the environment answers."]
    return "\n".join(lines)


def _description(parameter: Parameter, from_docstring: str) -> str:
    schema = parameter.node.schema
    text = schema.get("description") or from_docstring or schema.get("title") or parameter.name
    limits = [f"{limit} {json.dumps(schema[limit])}" for limit in _LIMITS if limit in schema]
    space = schema.get(SPACE_KEYWORD)
    if isinstance(space, dict) and space.get("type") == "Discrete":
        start = space.get("start", 0)
        limits.append(f"from {start} to {start + space['n'] - 1}")
    if _says_more(parameter.node):
        limits.append(f"JSON Schema {json.dumps(_without_titles(_inlined(parameter.node)))}")
    return _one_line(f"{text} ({', '.join(limits)})" if limits else str(text))


def _one_line(text: str) -> str:
    return _SECTION.sub(r"\1", " ".join(str(text).split()))


def _hint(node: Node) -> Any:
    """Return the Python type of a JSON Schema, in the types that transformers reads back."""
    schema = node.schema
    if node.is_recursive:
        return dict
    if isinstance(space := schema.get(SPACE_KEYWORD), dict):
        return _hint_of_space(space)
    if values := [schema["const"]] if "const" in schema else schema.get("enum"):
        if all(isinstance(value, str | int | bool | None) for value in values):
            return Literal[tuple(values)]
        return Any
    if alternatives := list(_alternatives(node)):
        return Union[tuple(map(_hint, alternatives))]  # noqa: UP007 - of a list
    kind = schema.get("type")
    if isinstance(kind, list):
        return Union[tuple(_hint(node.replace({**schema, "type": each})) for each in kind)]  # noqa: UP007
    if kind == "array" and isinstance(schema.get("items"), dict):
        return list[_hint(node.child(schema["items"], "[]"))]  # type: ignore[misc]
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return dict[str, _hint(node.child(schema["additionalProperties"], "[]"))]  # type: ignore[misc]
    return _HINTS.get(str(kind), Any)


def _alternatives(node: Node) -> Iterator[Node]:
    for word in ("anyOf", "oneOf"):
        for index, part in enumerate(node.schema.get(word, ())):
            yield node.child(part, f"|{index}")


def _hint_of_space(space: dict[str, Any]) -> Any:
    kind = space.get("type")
    if kind == "Box":
        hint: Any = int if "int" in str(space.get("dtype")) else float
        for _ in space.get("shape", ()):
            hint = list[hint]
        return hint
    return _HINTS_OF_SPACES.get(str(kind), Any)


def _says_more(node: Node) -> bool:
    """Whether a schema has something that types do not show: the fields of objects, the places of tuples."""
    schema = node.schema
    if node.is_recursive:
        return False
    inner = [node.child(schema["items"], "[]")] if isinstance(schema.get("items"), dict) else []
    if "properties" in schema or "prefixItems" in schema:
        return True
    if "const" in schema or "enum" in schema:
        return _hint(node) is Any
    return any(map(_says_more, [*inner, *_alternatives(node)]))


def _inlined(node: Node) -> Any:
    """Return a schema without references."""

    def inline(schema: Any, seen: frozenset[str]) -> Any:
        if isinstance(schema, list):
            return [inline(part, seen) for part in schema]
        if not isinstance(schema, dict):
            return schema
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in seen:
                return {"type": "object"}
            return inline(dict(resolve(schema, node.document).schema), seen | {reference})
        return {key: inline(part, seen) for key, part in schema.items()}

    return inline(dict(node.schema), node.seen)


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(part)
        for key, part in schema.items()
        if not (key == "title" and isinstance(part, str))
    }
