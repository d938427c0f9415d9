"""Pauses between retries."""

from __future__ import annotations

from openenv_gym.backoff import Backoff


def test_pauses_double_up_to_the_limit_and_start_again_after_a_reset() -> None:
    backoff = Backoff(0.5, 3.0, jitter=False)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_a_first_pause_above_the_limit_is_cut() -> None:
    assert Backoff(5.0, 1.0, jitter=False).next_s() == 1.0


def test_jitter_halves_a_pause_at_most() -> None:
    pauses = [Backoff(1.0, 1.0).next_s() for _ in range(100)]
    assert all(0.5 <= pause_s <= 1.0 for pause_s in pauses)
    assert len(set(pauses)) > 1
