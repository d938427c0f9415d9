"""The Docker engine, for the commands that are about containers and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker

ONLY_CONTAINERS = (
    "`openenv ps` and `openenv stop` are about containers only: servers that were started as processes or on "
    "Ray end with their run by themselves."
)


@contextmanager
def connected() -> Iterator[docker.DockerClient]:
    """The engine; where there is none, the error says what it is that goes without.

    Raises:
        ConfigurationError: No engine answers, or the docker extra is not here.
    """
    from openenv_gym.errors import ConfigurationError
    from openenv_gym.providers.engine import connect

    try:
        engine = connect()
    except ConfigurationError as error:
        error.add_note(ONLY_CONTAINERS)
        raise
    with closing(engine):
        yield engine
