"""The names in an environment's generated code, derived from the name of its package."""

from __future__ import annotations

import keyword
import re
import sys
import unicodedata
from dataclasses import dataclass

from openenv_gym.errors import ConfigurationError

_PACKAGE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MAX_LENGTH = 40
# Modules that the generated code imports or that are in its folder, and what openenv-NAME already means.
_TAKEN = {
    "client",
    "core",
    "envs",
    "fastapi",
    "gym",
    "gymnasium",
    "models",
    "numpy",
    "openenv",
    "openenv_cli",
    "openenv_core",
    "openenv_gym",
    "openenv_server",
    "pydantic",
    "server",
    "tests",
    "uvicorn",
}

# Folders that git, uv and other tools take for their own.
_IGNORED = {"build", "dist", "env", "venv"}


@dataclass(frozen=True)
class Names:
    """The names in an environment's code.

    Attributes:
        package: The package and its folder, ``my_env``.
    """

    package: str

    @classmethod
    def of(cls, name: str) -> Names:
        """Derive the names from the name of the package.

        Raises:
            ConfigurationError: The name is invalid. The advice has a valid one.
        """
        advice = f"Run: openenv init {_suggest(name)}"
        if not _PACKAGE.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} is not a valid package name: use lower-case letters, digits and single "
                "underscores, starting with a letter.",
                advice=advice,
            )
        if len(name) > _MAX_LENGTH:
            raise ConfigurationError(
                f"{name!r} is too long: the maximum is {_MAX_LENGTH} characters.", advice=advice
            )
        if keyword.iskeyword(name) or keyword.issoftkeyword(name):
            raise ConfigurationError(f"{name!r} is a Python keyword.", advice=advice)
        if name in _TAKEN or name in sys.stdlib_module_names:
            raise ConfigurationError(
                f"{name!r} is the name of a module that the environment needs.", advice=advice
            )
        if name in _IGNORED:
            raise ConfigurationError(f"{name!r} is a folder that tools ignore.", advice=advice)
        return cls(name)

    @property
    def hyphenated(self) -> str:
        """The name in tags and in distributions: ``my-env``."""
        return self.package.replace("_", "-")

    @property
    def stem(self) -> str:
        """The name without ``_env``: ``my``."""
        return self.package.removesuffix("_env")

    @property
    def class_stem(self) -> str:
        """The prefix of all classes: ``My``."""
        return "".join(word.capitalize() for word in self.stem.split("_"))

    @property
    def title(self) -> str:
        """The name for people: ``My environment``."""
        return f"{self.stem.replace('_', ' ').capitalize()} environment"

    @property
    def action(self) -> str:
        """The action's class: ``MyAction``."""
        return f"{self.class_stem}Action"

    @property
    def observation(self) -> str:
        """The observation's class: ``MyObservation``."""
        return f"{self.class_stem}Observation"

    @property
    def environment(self) -> str:
        """The environment's class: ``MyEnvironment``."""
        return f"{self.class_stem}Environment"

    @property
    def environment_module(self) -> str:
        """The environment's module: ``my_environment``."""
        return f"{self.stem}_environment"

    @property
    def client(self) -> str:
        """The client's class: ``MyEnv``."""
        return f"{self.class_stem}Env"


def nearest_name(name: str) -> str:
    """The name itself if it is valid, or else the nearest valid one."""
    try:
        return Names.of(name).package
    except ConfigurationError:
        return _suggest(name)


def _suggest(name: str) -> str:
    """The nearest valid name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+[a-z]*", plain)
    snake = re.sub(r"(?<=[a-z])_([0-9])", r"\1", "_".join(words).lower())
    if not snake[:1].isalpha() or snake in ("env", "venv"):
        snake = "my_env" if snake in ("", "env", "venv") else f"my_{snake}"
    snake = snake[: _MAX_LENGTH - len("_env")].rstrip("_")
    is_named = re.search(r"[_0-9]env$", snake) is not None and snake not in _TAKEN
    return snake if is_named else f"{snake}_env"
