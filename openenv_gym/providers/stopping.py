"""How long a server may take to end."""

from __future__ import annotations

from collections.abc import Mapping

# A server drains for so long, where its settings do not say otherwise; see docs/operations.md.
_DRAIN_TIMEOUT_S = 10.0
_MARGIN_S = 1.0


def stop_timeout_s(variables: Mapping[str, str]) -> float:
    """The seconds in which a server ends that was asked to: as long as it drains, and one more.

    Args:
        variables: Its environment variables, ``DRAIN_TIMEOUT`` maybe among them.
    """
    try:
        return float(variables["DRAIN_TIMEOUT"]) + _MARGIN_S
    except (KeyError, ValueError):  # the server itself refuses what is no number
        return _DRAIN_TIMEOUT_S + _MARGIN_S
