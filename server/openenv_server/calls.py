"""How to call an environment class: the keywords it takes, and which methods are ``async``.

The class is inspected once, so a step inspects no signature.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, ForwardRef, Generic, Protocol, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from openenv_gym.types import EnvironmentMetadata, State
from openenv_server.environment import describe
from openenv_server.errors import RefusedSeedError

# Base classes, and the packages they are from. Attributes defined there are defaults, not an author's choice.
_BASES = frozenset({"Environment", "MCPEnvironment"})
_BASE_PACKAGES = frozenset({"openenv_server", "openenv", "openenv_core"})

log = logging.getLogger("openenv_server")

# The options that were ignored and logged already, by environment class.
_warned_of: dict[type, set[str]] = {}


def own_attribute(kind: type, name: str) -> Any:
    """The value of a class attribute if the author's class, or a non-framework base of it, defines it."""
    for ancestor in kind.__mro__:
        is_base = ancestor.__name__ in _BASES and ancestor.__module__.split(".")[0] in _BASE_PACKAGES
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
        has_own_loop: Whether ``async`` methods run on an event loop in the session's thread instead. This is
            so for a published `MCPEnvironment`, whose tools keep a connection in that loop.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.has_own_loop: bool = any(
            base.__name__ == "MCPEnvironment" and base.__module__.startswith("openenv.")
            for base in kind.__mro__
        )
        self.reset_name: str
        self.reset_is_async: bool
        self.step_name: str
        self.step_is_async: bool
        self.reset_name, self.reset_is_async, self._reset_takes = self._pick("reset")
        self.step_name, self.step_is_async, self._step_takes = self._pick("step")
        self.close_is_async: bool = inspect.iscoroutinefunction(getattr(kind, "close", None))
        self._warned_of: set[str] = _warned_of.setdefault(kind, set())

    def _pick(self, name: str) -> tuple[str, bool, Mapping[str, inspect.Parameter]]:
        method = own_attribute(self.kind, f"{name}_async")
        if self.has_own_loop and own_attribute(self.kind, name) is None:
            method = getattr(self.kind, f"{name}_async")  # its base's, which calls tools without a new loop
        if method is not None:
            return f"{name}_async", True, inspect.signature(method).parameters
        method = getattr(self.kind, name)
        return name, inspect.iscoroutinefunction(method), inspect.signature(method).parameters

    def reset_arguments(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The keywords for a reset, and what to report of those that the environment does not take.

        Returns:
            arguments: The keywords that it takes.
            report: For the observation's metadata: ``seed_ignored``, and the names in ``ignored_options``.

        Raises:
            RefusedSeedError: The seed is negative, which Gymnasium's and NumPy's generators refuse.
        """
        seed = data.get("seed")
        if isinstance(seed, int) and seed < 0:
            raise RefusedSeedError(seed)
        takes = self._reset_takes
        if _takes_any(takes):
            return dict(data), {}
        arguments = {name: value for name, value in data.items() if name in takes}
        report: dict[str, Any] = {}
        if data.get("seed") is not None and "seed" not in arguments:
            report["seed_ignored"] = True
        ignored = sorted(data.keys() - arguments.keys() - {"seed", "episode_id"})
        if ignored:
            report["ignored_options"] = ignored
            if not self._warned_of >= set(ignored):
                self._warned_of.update(ignored)
                known = ", ".join(name for name in takes if name != "self")
                log.warning(
                    "%s.reset does not take %s, so they are ignored; it takes %s",
                    self.kind.__name__,
                    ", ".join(ignored),
                    known or "nothing",
                )
        return arguments, report

    def step_arguments(self, extras: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords for a step, among those that a client may send beside the action."""
        takes = self._step_takes
        given = {name: value for name, value in extras.items() if value is not None}
        return given if _takes_any(takes) else {name: given[name] for name in given if name in takes}


def metadata_of(environment: Any, env_name: str | None) -> EnvironmentMetadata:
    """An environment's description of itself. ``env_name`` replaces a default name."""
    own = own_attribute(type(environment), "get_metadata")
    metadata = environment.get_metadata() if own is not None else describe(type(environment))
    fields = metadata.model_dump() if hasattr(metadata, "model_dump") else dict(metadata)
    if own is None and env_name:
        fields["name"] = env_name
    return EnvironmentMetadata(**{k: v for k, v in fields.items() if k in EnvironmentMetadata.model_fields})


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def is_base_state(model: Any) -> bool:
    """Whether a model is `State` itself, of this project or of the published package."""
    packages = {"openenv_gym", *_BASE_PACKAGES}
    return getattr(model, "__name__", "") == "State" and model.__module__.split(".")[0] in packages


def state_model(kind: type | None) -> type[BaseModel]:
    """The model of a class's state: its parameter of `Environment`, or what ``state`` is annotated to return.

    `State` if neither says more, or the class is unknown.
    """
    if kind is not None:
        for found in (_third_parameter(kind), _annotated_state(kind)):
            if isinstance(found, TypeVar):
                found = found.__bound__
            if isinstance(found, type) and issubclass(found, BaseModel) and not is_base_state(found):
                return found
    return State


def _third_parameter(kind: type) -> Any:
    """``MyState`` of ``Environment[A, O, MyState]``, through subclasses that are generic themselves."""
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        origin = get_origin(base) or base
        arguments = get_args(base)
        if origin in (Generic, Protocol) or not isinstance(origin, type):
            continue
        is_environment = (
            origin.__name__ == "Environment" and origin.__module__.split(".")[0] in _BASE_PACKAGES
        )
        found = arguments[-1] if is_environment and arguments else _third_parameter(origin)
        if isinstance(found, TypeVar) and not is_environment:
            given = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
            found = given.get(found, found.__bound__)
        if isinstance(found, ForwardRef):
            found = getattr(sys.modules.get(kind.__module__), found.__forward_arg__, None)
        if found is not None and not is_base_state(found):
            return found
    return None


def _annotated_state(kind: type) -> Any:
    state = getattr(kind, "state", None)
    try:
        return get_type_hints(state.fget if isinstance(state, property) else state).get("return")
    except (NameError, TypeError, AttributeError):  # names that only a type checker imports
        return None


def class_behind(factory: Callable[[], Any]) -> type | None:
    """The environment class that a factory is, or is annotated to return; None if unknown."""
    if isinstance(factory, type):
        return factory
    try:
        returned = inspect.signature(factory, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    return returned if isinstance(returned, type) and returned is not inspect.Signature.empty else None
