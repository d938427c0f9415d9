"""The abstract providers, and those of containers."""

from openenv_gym.providers.local_docker import DockerSwarmProvider, LocalDockerProvider
from openenv_gym.providers.runtime import ContainerProvider, KubernetesProvider, RuntimeProvider

__all__ = [
    "ContainerProvider",
    "DockerSwarmProvider",
    "KubernetesProvider",
    "LocalDockerProvider",
    "RuntimeProvider",
]
