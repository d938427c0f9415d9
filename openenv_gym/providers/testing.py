"""Tests that every provider should pass: a mixin for a test class of pytest or unittest."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from openenv_gym.errors import EndpointError
from openenv_gym.generic_client import GenericEnvClient
from openenv_gym.providers.provider import Provider
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

_ANSWER_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 15.0


class _OnPurposeError(Exception):
    """Raised by a test on purpose."""


class ProviderTests(ABC):
    """Tests of a provider.

    Attributes:
        stops_servers: Whether `Provider.stop` ends the servers; False if others share them.

    Example:
        >>> class TestMyProvider(ProviderTests):
        ...     def make_provider(self) -> Provider:
        ...         return MyProvider("my-env")
    """

    stops_servers: bool = True

    @abstractmethod
    def make_provider(self) -> Provider:
        """Make a provider, and start nothing."""

    def test_started_servers_take_sessions(self) -> None:
        with self.make_provider() as provider:
            assert provider.endpoints
            for base_url in provider.endpoints:
                with GenericEnvClient(base_url, headers=provider.headers) as client:
                    assert isinstance(client.reset().observation, dict)

    def test_nothing_is_started_before_start(self) -> None:
        provider = self.make_provider()
        provider.stop()
        provider.stop()
        assert isinstance(provider.logs(), str)

    def test_start_returns_the_endpoints_that_it_keeps(self) -> None:
        provider = self.make_provider()
        try:
            endpoints = provider.start()
            assert isinstance(endpoints, tuple)
            assert provider.endpoints == endpoints
            assert provider.base_url == endpoints[0]
            assert [Endpoint.parse(base_url).base_url for base_url in endpoints] == list(endpoints)
            provider.wait_ready()
        finally:
            provider.stop()

    def test_servers_that_run_pass_the_check_and_have_logs(self) -> None:
        with self.make_provider() as provider:
            provider.check()
            assert isinstance(provider.logs(), str)

    def test_stopped_servers_answer_no_more(self) -> None:
        provider = self.make_provider()
        endpoints = provider.launch()
        provider.stop()
        provider.stop()
        assert provider.endpoints == ()
        self._assert_ended(endpoints)

    def test_an_error_in_the_block_stops_the_servers(self) -> None:
        provider = self.make_provider()
        endpoints: tuple[str, ...] = ()
        try:
            with provider:
                endpoints = provider.endpoints
                raise _OnPurposeError
        except _OnPurposeError:
            pass
        assert endpoints
        self._assert_ended(endpoints)

    def test_ctrl_c_while_they_come_up_stops_the_servers(self) -> None:
        provider = self.make_provider()
        endpoints: tuple[str, ...] = ()

        def interrupted(timeout_s: float | None = None) -> None:
            nonlocal endpoints
            endpoints = provider.endpoints
            raise KeyboardInterrupt

        provider.wait_ready = interrupted  # type: ignore[method-assign]
        try:
            provider.launch()
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("launch() swallowed Ctrl-C")
        self._assert_ended(endpoints)

    def test_a_stopped_provider_can_be_started_again(self) -> None:
        provider = self.make_provider()
        for _ in range(2):
            with provider:
                get_json(_endpoint(provider), "/health", timeout_s=_ANSWER_TIMEOUT_S)

    def _assert_ended(self, endpoints: tuple[str, ...]) -> None:
        if not self.stops_servers:
            return
        deadline = time.monotonic() + _END_TIMEOUT_S
        for base_url in endpoints:
            while _answers(base_url):
                assert time.monotonic() < deadline, f"{base_url} still responds after stop()"
                time.sleep(0.1)


def _endpoint(provider: Provider) -> Endpoint:
    return Endpoint.parse(provider.base_url, headers=provider.headers, is_direct=provider.is_direct)


def _answers(base_url: str) -> bool:
    try:
        get_json(Endpoint.parse(base_url), "/health", timeout_s=_ANSWER_TIMEOUT_S)
    except EndpointError:
        return False
    return True
