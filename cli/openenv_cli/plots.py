"""What commands that save a plot share."""

from __future__ import annotations

from pathlib import Path


def check_plot(path: Path, command: str) -> None:
    """Finds out before the work whether the plot can be saved.

    Raises:
        MissingExtraError: matplotlib is not here.
        ConfigurationError: The file is no image, or its folder is not there.
    """
    from importlib.util import find_spec

    from openenv_gym.errors import ConfigurationError, MissingExtraError

    if find_spec("matplotlib") is None:
        raise MissingExtraError(f"openenv {command} --plot", "plot")
    if path.suffix.lower() != ".png":
        raise ConfigurationError(f"--plot {path}: the file's name ends in .png")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"--plot {path}: the folder {path.absolute().parent} does not exist")
