"""Compressed attachments: when they are asked for, and what a client refuses to decompress."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from openenv_gym.session.link_speed import LinkSpeed
from openenv_gym.wire import compression, v2
from openenv_gym.wire.v2 import Attachments

zstd = compression._library()
MEGABYTE = 1 << 20
LIMIT = 8 * MEGABYTE


def frames() -> np.ndarray[Any, Any]:
    """Sixteen frames of a game: a background, and a few things in other places."""
    batch = np.full((16, 210, 160, 3), 87, np.uint8)
    for place, frame in enumerate(batch):
        frame[10 * place : 10 * place + 16, 20:24] = 236
    return batch


def encoded(array: np.ndarray[Any, Any]) -> bytes:
    """A result with an attached array, compressed if that is worthwhile."""
    attachments = Attachments()
    column = attachments.attach(list(array))
    attachments.compress()
    result = v2.Result(id=1, slots=list(range(len(array))), observations=column, rewards=[])
    return b"".join(v2.encode(result, attachments))


def with_attachment(frame: bytes) -> bytes:
    """A result whose compressed bytes are these."""
    attachments = Attachments()
    column = attachments.attach_whole(np.zeros(MEGABYTE, np.uint8))
    attachments.parts, attachments.are_compressed = [frame], True
    return b"".join(v2.encode(v2.Result(id=1, slots=[0], observations=column, rewards=[]), attachments))


def test_arrays_come_back_equal_and_writable() -> None:
    sent = frames()
    payload = encoded(sent)
    assert v2.is_compressed(payload)
    assert len(payload) < sent.nbytes / 100
    answer = v2.decode_answer(payload, LIMIT)
    assert isinstance(answer, v2.Result)
    assert np.array_equal(answer.observations, sent)
    assert answer.observations.flags.writeable


def test_what_does_not_get_smaller_is_sent_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, MEGABYTE), np.uint8)
    payload = encoded(noise)
    assert not v2.is_compressed(payload)
    answer = v2.decode_answer(payload)
    assert isinstance(answer, v2.Result)
    assert np.array_equal(answer.observations, noise)


def test_many_rows_count_as_much_as_if_they_were_not_compressed() -> None:
    rows = np.zeros((2, 2_500_000, 1), np.uint8)
    answer = v2.decode_answer(encoded(rows), LIMIT)
    assert isinstance(answer, v2.Result)
    assert answer.observations.shape == rows.shape


def test_many_small_rows_are_compressed_together() -> None:
    rows = np.repeat(np.arange(256, dtype=np.uint8), 1024).reshape(-1, 4)
    payload = encoded(rows)
    assert len(payload) < rows.nbytes
    answer = v2.decode_answer(payload, LIMIT)
    assert isinstance(answer, v2.Result)
    assert np.array_equal(answer.observations, rows)


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    payload = with_attachment(zstd.compress(bytes(LIMIT + 1)))
    assert len(payload) < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(v2.BadMessageError, match="size 8388609; at most 8,388,608 are allowed"):
            v2.decode_answer(payload, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    finally:
        tracemalloc.stop()


def test_a_frame_that_is_larger_than_its_head_says_is_refused() -> None:
    honest = zstd.compress(bytes(100_000))
    claim = honest.replace((100_000).to_bytes(4, "little"), (5_000).to_bytes(4, "little"), 1)
    assert claim != honest
    with pytest.raises(v2.BadMessageError, match="decompress"):
        v2.decode_answer(with_attachment(claim), LIMIT)


def of_unknown_size() -> bytes:
    compressor = zstd.ZstdCompressor()
    return bytes(compressor.compress(bytes(1000)) + compressor.flush())


WHOLE = zstd.compress(bytes(MEGABYTE))
WIDE = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 1}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"no frame at all",
        WHOLE[:-3],
        WHOLE + WHOLE,
        WHOLE + b"more",
        WHOLE[:9] + bytes(8) + WHOLE[17:],
        of_unknown_size(),
        zstd.compress(bytes(1000)),
    ],
    ids=[
        "empty",
        "garbage",
        "cut",
        "two",
        "trailing",
        "overwritten",
        "unknown size",
        "too short for the array",
    ],
)
def test_a_bad_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(v2.BadMessageError, match="Not a message of version 2"):
        v2.decode_answer(with_attachment(frame), LIMIT)


def test_a_large_window_is_refused() -> None:
    data = bytes(3 * LIMIT)
    with pytest.raises(v2.BadMessageError, match="too much memory"):
        v2.decode_answer(with_attachment(zstd.compress(data, options=WIDE)), 4 * LIMIT)


def test_a_client_that_allows_none_refuses_them() -> None:
    with pytest.raises(v2.BadMessageError, match="at most 0 are allowed"):
        v2.decode_answer(encoded(frames()))


def test_a_server_decompresses_nothing() -> None:
    attachments = Attachments()
    actions = attachments.attach(list(frames()))
    attachments.compress()
    step = v2.Step(id=1, slots=[0], actions=actions)
    with pytest.raises(v2.BadMessageError):
        v2.decode_request(b"".join(v2.encode(step, attachments)))


def test_a_side_without_zstandard_sends_and_takes_nothing_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = encoded(frames())
    monkeypatch.setattr(compression, "is_available", lambda: False)
    assert not v2.is_compressed(encoded(frames()))
    with pytest.raises(v2.BadMessageError, match="Zstandard is not installed"):
        v2.decode_answer(payload, LIMIT)


# Megabytes per second.
FAST, SLOW = 500e6, 12.5e6


def measured(*speeds: float, size: int = 1_600_000) -> LinkSpeed:
    link = LinkSpeed()
    for speed in speeds:
        link.measure(size, size / speed, now=0.0)
    return link


@pytest.mark.parametrize(
    ("speeds", "is_slow"),
    [
        ([], False),
        ([SLOW, SLOW], False),
        ([SLOW, SLOW, SLOW], True),
        ([SLOW, FAST, SLOW, SLOW], False),  # a busy machine
        ([FAST, SLOW, SLOW, SLOW], True),
    ],
    ids=str,
)
def test_a_link_is_slow_after_three_slow_messages(speeds: list[float], is_slow: bool) -> None:
    assert measured(*speeds).is_slow(now=0.0) is is_slow


def test_small_messages_measure_nothing() -> None:
    assert not measured(SLOW, SLOW, SLOW, size=1000).is_slow(now=0.0)


def test_a_slow_link_is_measured_again_and_that_takes_one_percent_of_the_time() -> None:
    link = measured(SLOW, SLOW, SLOW)
    took_s = 1_600_000 / SLOW
    assert link.is_slow(now=99 * took_s)
    assert not link.is_slow(now=101 * took_s)
    link.measure(1_600_000, took_s, now=102 * took_s)
    assert link.is_slow(now=103 * took_s)
    link.measure(1_600_000, 1_600_000 / FAST, now=300 * took_s)
    assert not link.is_slow(now=300 * took_s)
