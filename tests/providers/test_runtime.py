"""The abstract providers that published code subclasses."""

from __future__ import annotations

from typing import Any

import pytest

from openenv.core.containers.runtime import ContainerProvider, KubernetesProvider, RuntimeProvider


class Recording(ContainerProvider):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start_container(
        self, image: str, port: int | None = None, env_vars: dict[str, str] | None = None, **kwargs: Any
    ) -> str:
        self.calls.append("start_container")
        return f"http://localhost:{port}"

    def stop_container(self) -> None:
        self.calls.append("stop_container")

    def wait_for_ready(self, base_url: str, timeout_s: float = 30.0) -> None:
        self.calls.append(f"wait_for_ready {base_url} {timeout_s:g}")


class Closing(Recording):
    def close(self) -> None:
        self.calls.append("close")


class Running(RuntimeProvider):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, port: int | None = None, env_vars: dict[str, str] | None = None, **kwargs: Any) -> str:
        self.calls.append("start")
        return "http://localhost:1"

    def stop(self) -> None:
        self.calls.append("stop")

    def wait_for_ready(self, timeout_s: float = 30.0) -> None:
        self.calls.append("wait_for_ready")


def test_a_block_closes_a_container_provider_and_lets_errors_out() -> None:
    with Recording() as provider:
        provider.wait_for_ready(provider.start_container("image", port=7))
    assert provider.calls == ["start_container", "wait_for_ready http://localhost:7 30"]
    closing = Closing()
    with pytest.raises(KeyError), closing:
        raise KeyError
    assert closing.calls == ["close"]


def test_a_block_starts_and_stops_a_runtime_provider() -> None:
    provider = Running()
    with provider as entered:
        assert entered is provider
    with pytest.raises(KeyError), provider:
        raise KeyError
    assert provider.calls == ["start", "stop"] * 2


@pytest.mark.parametrize("kind", [ContainerProvider, RuntimeProvider, KubernetesProvider])
def test_what_is_not_implemented_cannot_be_made(kind: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()
