"""Zstandard (RFC 8878) for attached arrays, which saves time on slow networks.

Python has it from 3.14 on, and before that in the package ``backports.zstd``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

# The fastest level: on frames of Atari games, higher ones take longer and save little more.
_LEVEL = 1
# The window of a decompressor, as a power of two: the 8 MiB that RFC 8878 asks of every one.
_WINDOW_LOG = 23
_PIECE = 1 << 20
# Copying parts of fewer bytes costs less than compressing each of them by itself.
_SMALL_PART = 1 << 12
# Compressed bytes that are not smaller by this factor are not worth decompressing.
_WORTHWHILE = 0.8


@cache
def is_available() -> bool:
    """Whether this interpreter has Zstandard."""
    return _library() is not None


@cache
def _library() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def compress(parts: Sequence[bytes | memoryview]) -> bytes | None:
    """Compress parts that follow each other into one frame; None if it is not worthwhile or not available.

    Args:
        parts: The bytes.
    """
    if not is_available():
        return None
    size = sum(map(len, parts))
    if size < len(parts) * _SMALL_PART:
        parts = [b"".join(parts)]
    compressor = _library().ZstdCompressor(level=_LEVEL)
    compressor.set_pledged_input_size(size)  # goes into the head
    frame = b"".join([*map(compressor.compress, parts), compressor.flush()])
    return frame if len(frame) <= size * _WORTHWHILE else None


def decompress(frame: memoryview, most_bytes: int) -> memoryview:
    """Decompress a frame into fresh memory.

    Args:
        frame: The frame. It may come from an attacker.
        most_bytes: What it may become at most.

    Raises:
        ValueError: It is not one whole frame, or its content is larger than allowed or than its head says.
    """
    if not is_available():
        raise ValueError("it is compressed, and Zstandard is not installed")
    zstd = _library()
    try:
        size = zstd.get_frame_info(frame).decompressed_size
        if size is None or size > most_bytes:
            raise ValueError(f"compressed bytes of the size {size}; at most {most_bytes:,} are allowed")
        memory, is_whole = _decompress(zstd, frame, size)
    except zstd.ZstdError as error:
        raise ValueError(f"attached bytes that cannot be decompressed: {error}") from error
    if not is_whole:
        raise ValueError(f"attached bytes that do not decompress to {size:,}")
    return memory


def _decompress(zstd: Any, frame: memoryview, size: int) -> tuple[memoryview, bool]:
    """Return the content of a frame, and whether that is all of it, and of a size."""
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    memory = np.empty(size, np.uint8).data
    filled, source = 0, frame
    while not decompressor.eof:
        # One byte more than is left shows a frame that is too long.
        piece = decompressor.decompress(source, min(_PIECE, size - filled + 1))
        source = frame[:0]
        if filled + len(piece) > size or not (piece or decompressor.eof):
            return memory, False
        memory[filled : filled + len(piece)] = piece
        filled += len(piece)
    return memory, filled == size and not decompressor.unused_data
