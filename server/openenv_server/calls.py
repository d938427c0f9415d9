"""How to call an environment class: the keywords it takes, and which methods are ``async``.

The class is inspected once, so a step inspects no signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from openenv_gym.types import EnvironmentMetadata
from openenv_server.environment import describe
from openenv_server.errors import UnknownKeywordsError

# Packages whose `Environment` is a base class. Attributes defined there are defaults, not an author's choice.
_BASE_PACKAGES = frozenset({"openenv_server", "openenv", "openenv_core"})


def own_attribute(kind: type, name: str) -> Any:
    """The value of a class attribute if the author's class, or a non-framework base of it, defines it."""
    for ancestor in kind.__mro__:
        is_base = ancestor.__name__ == "Environment" and ancestor.__module__.split(".")[0] in _BASE_PACKAGES
        if name in vars(ancestor) and not is_base:
            return vars(ancestor)[name]
    return None


class EnvironmentCalls:
    """How to call the environments of one class.

    Args:
        kind: A class with ``reset``, ``step`` and ``state``, with a base class from any package or none.

    Attributes:
        reset_name: The method that resets: ``reset``, or ``reset_async`` if the author overrides it.
        step_name: The method that steps.
        reset_is_async: Whether the reset is awaited on the event loop.
        step_is_async: Whether the step is awaited on the event loop.
        close_is_async: Whether ``close`` is awaited on the event loop.
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
        """The keywords for a reset, and whether a seed was dropped because the environment takes none.

        Raises:
            UnknownKeywordsError: The environment does not take some of the keywords.
        """
        takes = self._reset_takes
        arguments = dict(data) if _takes_any(takes) else {k: v for k, v in data.items() if k in takes}
        dropped = set(data) - set(arguments)
        unknown = sorted(dropped - {"seed", "episode_id"})
        if unknown:
            known = [name for name in takes if name != "self"]
            raise UnknownKeywordsError(
                f"{self.kind.__name__}.reset does not take {', '.join(unknown)}; "
                f"it takes {', '.join(known) if known else 'nothing'}"
            )
        return arguments, data.get("seed") is not None and "seed" in dropped

    def step_arguments(self, extras: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords for a step, among those that a client may send beside the action."""
        return {k: v for k, v in extras.items() if v is not None and k in self._step_takes}


def metadata_of(environment: Any, env_name: str | None) -> EnvironmentMetadata:
    """An environment's description of itself. ``env_name`` replaces a default name."""
    own = own_attribute(type(environment), "get_metadata")
    metadata = environment.get_metadata() if own is not None else describe(type(environment))
    fields = metadata.model_dump() if hasattr(metadata, "model_dump") else dict(metadata)
    if own is None and env_name:
        fields["name"] = env_name
    return EnvironmentMetadata(**fields)


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def class_behind(factory: Callable[[], Any]) -> type | None:
    """The environment class that a factory is, or is annotated to return; None if unknown."""
    if isinstance(factory, type):
        return factory
    try:
        returned = inspect.signature(factory, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    return returned if isinstance(returned, type) and returned is not inspect.Signature.empty else None
