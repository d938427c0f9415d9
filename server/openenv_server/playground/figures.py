"""Numbers as people read them."""

from __future__ import annotations

import math

# Integers up to here are exact as floats, and are written without an exponent.
_EXACT = 1e15
# From here on, the whole part of a number says enough, with one digit after it.
_LARGE = 1000


def figure(value: float) -> str:
    """Return a number as text: integers in full, others with at least four significant digits."""
    if isinstance(value, int):
        return str(int(value))
    if math.isfinite(value) and abs(value) < _EXACT:
        if value == int(value):
            return str(int(value))
        if abs(value) >= _LARGE:
            return f"{value:.1f}"
    return f"{value:.4g}"
