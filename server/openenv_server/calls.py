"""How one environment class wants to be called: which keywords it takes, and what is to be awaited.

All of it is read off the class once, so that a step looks at no signature.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from openenv_gym.types import EnvironmentMetadata
from openenv_server.environment import describe

# The packages whose `Environment` is a base for authors. What it defines is nobody's own choice.
_BASE_PACKAGES = frozenset({"openenv_server", "openenv", "openenv_core"})


class UnknownKeywordsError(TypeError):
    """A reset was given keywords that the environment does not take."""


def own_attribute(kind: type, name: str) -> Any:
    """What the author's own class, or a base of it that is not a framework's, defines; else None."""
    for ancestor in kind.__mro__:
        is_base = ancestor.__name__ == "Environment" and ancestor.__module__.split(".")[0] in _BASE_PACKAGES
        if name in vars(ancestor) and not is_base:
            return vars(ancestor)[name]
    return None


class Calls:
    """The calls of one environment class.

    Args:
        kind: A class with ``reset``, ``step`` and ``state``, whichever package its base comes from.

    Attributes:
        reset_name: The method that resets: ``reset``, or ``reset_async`` where the author overrides it.
        step_name: The method that steps.
        reset_is_async: Whether the reset is awaited on the event loop.
        step_is_async: Whether the step is.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.reset_name, self.reset_is_async, self._reset_takes = self._pick("reset")
        self.step_name, self.step_is_async, self._step_takes = self._pick("step")
        self.close_is_async = inspect.iscoroutinefunction(getattr(kind, "close", None))

    def _pick(self, name: str) -> tuple[str, bool, Mapping[str, inspect.Parameter]]:
        method = own_attribute(self.kind, f"{name}_async")
        if method is not None:
            return f"{name}_async", True, inspect.signature(method).parameters
        method = getattr(self.kind, name)
        return name, inspect.iscoroutinefunction(method), inspect.signature(method).parameters

    def reset_arguments(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """The keywords for a reset, and whether a seed had to be left out.

        Raises:
            UnknownKeywordsError: The environment does not take some of the others.
        """
        takes = self._reset_takes
        arguments = dict(data) if _takes_any(takes) else {k: v for k, v in data.items() if k in takes}
        left_out = set(data) - set(arguments)
        unknown = sorted(left_out - {"seed", "episode_id"})
        if unknown:
            known = [name for name in takes if name != "self"]
            raise UnknownKeywordsError(
                f"{self.kind.__name__}.reset does not take {', '.join(unknown)}; "
                f"it takes {', '.join(known) if known else 'nothing'}"
            )
        return arguments, data.get("seed") is not None and "seed" in left_out

    def step_arguments(self, extras: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords for a step, out of those that a client may send beside the action."""
        return {k: v for k, v in extras.items() if v is not None and k in self._step_takes}


def metadata_of(environment: Any, env_name: str | None) -> EnvironmentMetadata:
    """What an environment says of itself, under the name that it is served by."""
    own = own_attribute(type(environment), "get_metadata")
    said = environment.get_metadata() if own is not None else describe(type(environment))
    fields = said.model_dump() if hasattr(said, "model_dump") else dict(said)
    if own is None and env_name:
        fields["name"] = env_name
    return EnvironmentMetadata(**fields)


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def class_behind(factory: Callable[[], Any]) -> type | None:
    """The environment class that a factory is, or says that it returns; None where it does not say."""
    if isinstance(factory, type):
        return factory
    try:
        returned = inspect.signature(factory, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    return returned if isinstance(returned, type) and returned is not inspect.Signature.empty else None


def plain_errors(error: ValidationError) -> list[dict[str, Any]]:
    """Pydantic's list of what is wrong, as JSON values."""
    try:
        text = error.json(include_url=False, include_context=False)
    except ValueError:
        # What was sent is not for JSON (bytes, say), and is left out.
        text = error.json(include_url=False, include_context=False, include_input=False)
    # The numbers that JSON has not become their names.
    errors: list[dict[str, Any]] = json.loads(text, parse_constant=str)
    return errors


def in_words(error: ValidationError) -> str:
    """What is wrong, in a line: each field's path and what is said of it."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'action'}: {item['msg']}"
        for item in error.errors(include_url=False)
    )
