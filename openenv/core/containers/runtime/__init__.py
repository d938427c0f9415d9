"""Providers of servers."""

from openenv_gym.providers.local_docker import DockerSwarmProvider, LocalDockerProvider
from openenv_gym.providers.runtime import ContainerProvider, KubernetesProvider, RuntimeProvider
from openenv_gym.providers.uv import UVProvider

__all__ = [
    "ContainerProvider",
    "DockerSwarmProvider",
    "KubernetesProvider",
    "LocalDockerProvider",
    "RuntimeProvider",
    "UVProvider",
]
