"""From the name that an author chooses to all names that the generated code has."""

from __future__ import annotations

import keyword
import re
import sys
import unicodedata
from dataclasses import dataclass

from openenv_gym.errors import ConfigurationError

_PACKAGE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 40
# What the generated code imports, and what stands in its folder.
_TAKEN = {
    "client",
    "envs",
    "fastapi",
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


@dataclass(frozen=True)
class Names:
    """The names in an environment's code.

    Attributes:
        package: The package and its folder, ``my_env``.
    """

    package: str

    @classmethod
    def of(cls, name: str) -> Names:
        """The names that follow from the name of the package.

        Raises:
            ConfigurationError: It cannot be one; the message has one that can.
        """
        suggestion = _suggest(name)
        if not _PACKAGE.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot be the name of a package: it has lower-case letters, digits and single "
                f"underscores, and begins with a letter. Type: openenv init {suggestion}"
            )
        if len(name) > _LONGEST:
            raise ConfigurationError(f"{name!r} is too long: {_LONGEST} characters at most")
        if keyword.iskeyword(name) or keyword.issoftkeyword(name):
            raise ConfigurationError(f"{name!r} is a keyword of Python. Type: openenv init {suggestion}")
        if name in _TAKEN or name in sys.stdlib_module_names:
            raise ConfigurationError(
                f"{name!r} is the name of a module that the environment needs itself. "
                f"Type: openenv init {suggestion}"
            )
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
        """What all classes begin with: ``My``."""
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
    """The name of a package where it can be one; else the nearest that can."""
    try:
        return Names.of(name).package
    except ConfigurationError:
        return _suggest(name)


def _suggest(name: str) -> str:
    """The nearest name that is allowed."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", plain)
    snake = re.sub(r"_([0-9])", r"\1", "_".join(words).lower()).strip("_").lstrip("0123456789_") or "my"
    return snake if snake.endswith("_env") and snake not in _TAKEN else f"{snake}_env"
