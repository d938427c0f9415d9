"""The rewards of an episode as a plot, an SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openenv_server.playground.figures import figure

_WIDTH, _HEIGHT, _MARGIN = 640, 120, 8
# The steps that are shown, the latest ones.
_MOST_STEPS = 200


def reward_plot(rewards: Sequence[float], first_step: int = 1) -> str:
    """Plot the reward of each step.

    Args:
        rewards: The rewards, in order.
        first_step: The number of the step that the first of them is of.
    """
    if not rewards:
        return '<p class="pg-note">Rewards are plotted here, one for each step.</p>'
    shown = list(rewards)[-_MOST_STEPS:]
    start = first_step + len(rewards) - len(shown)
    finite = [reward for reward in shown if math.isfinite(reward)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    if low == high:
        high = 1.0
    span = high - low
    room = _HEIGHT - 2 * _MARGIN

    def y(reward: float) -> float:
        # An infinite one reaches the edge.
        return _MARGIN + room * (high - min(max(reward, low), high)) / span

    each = _WIDTH / max(len(shown), 20)
    bars = "".join(
        f'<rect x="{i * each + each * 0.1:.1f}" y="{min(y(reward), y(0)):.1f}" width="{each * 0.8:.1f}" '
        f'height="{max(abs(y(reward) - y(0)), 1):.1f}" class="{"pg-plus" if reward >= 0 else "pg-minus"}">'
        f"<title>step {start + i}: {figure(reward)}</title></rect>"
        for i, reward in enumerate(shown)
    )
    last = start + len(shown) - 1
    least, most = figure(min(shown)), figure(max(shown))
    label = f"Rewards of steps {start} to {last}, from {least} to {most}"
    rewards_text = least if least == most else f"{least} to {most}"
    return (
        f'<figure class="pg-plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{label}">{bars}'
        f'<line x1="0" x2="{_WIDTH}" y1="{y(0):.1f}" y2="{y(0):.1f}"/></svg>'
        f"<figcaption><span>step {start}</span><span>reward {rewards_text}</span>"
        f"<span>{f'step {last}' if last > start else ''}</span></figcaption></figure>"
    )
