"""Which base URLs lead to this machine."""

from __future__ import annotations

import pytest

from openenv_gym.transport.routes import is_on_this_machine


@pytest.mark.parametrize(
    ("base_url", "is_here"),
    [
        ("http://localhost:8000", True),
        ("ws://localhost", True),
        ("http://app.localhost", True),
        ("https://127.0.0.2", True),
        ("http://[::1]:8000/env", True),
        ("http://0.0.0.0:8000", True),
        ("http://localhost.example.com:8000", False),
        ("http://localhost-gpu:8000", False),
        ("https://127.example.org", False),
        ("http://10.0.0.1", False),
    ],
)
def test_only_whole_names_and_addresses_mean_this_machine(base_url: str, is_here: bool) -> None:
    assert is_on_this_machine(base_url) is is_here
