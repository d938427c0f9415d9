"""Prints the public names of the installed `openenv`, by module, as JSON. Runs in the peer's environment."""

import enum
import importlib
import inspect
import json
import sys
from pathlib import Path

import openenv


def modules(root: Path) -> list[str]:
    files = [path.relative_to(root).with_suffix("") for path in root.rglob("*.py")]
    names = {".".join(("openenv", *file.parts)).removesuffix(".__init__") for file in files}
    return sorted(name for name in names if ".templates." not in name and not name.endswith("__main__"))


def parameters(thing: object) -> list[str]:
    try:
        found = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def describe(thing: object) -> dict[str, object]:
    found: dict[str, object] = {}
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        return {"members": {each.name: each.value for each in thing}}
    if isinstance(thing, type) and hasattr(thing, "model_fields"):
        found["fields"] = {name: field.is_required() for name, field in thing.model_fields.items()}
    elif callable(thing):
        found["parameters"] = parameters(thing)
    if isinstance(thing, type):
        names = {name for kind in thing.__mro__ if is_own(kind) for name in vars(kind)}
        methods = {name: getattr(thing, name) for name in names if not name.startswith(("_", "model_"))}
        found["methods"] = {name: parameters(method) for name, method in methods.items()}
    return found


def is_own(kind: type) -> bool:
    return kind.__module__.split(".")[0].startswith("openenv")


def public(module: object, name: str) -> dict[str, object]:
    declared = getattr(module, "__all__", None)
    names = declared or [
        each
        for each, thing in vars(module).items()
        if not each.startswith("_") and getattr(thing, "__module__", None) == name
    ]
    return {each: describe(getattr(module, each)) for each in names}


if __name__ == "__main__":
    found: dict[str, object] = {}
    for name in modules(Path(openenv.__file__).parent):
        if any(name == prefix or name.startswith(prefix + ".") for prefix in sys.argv[1:]):
            continue
        try:
            found[name] = public(importlib.import_module(name), name)
        except ImportError as error:  # needs a package that is an extra of the published one
            found[name] = str(error)
    print(json.dumps(found))
