"""Memory that a client and a server on one machine share, so that large messages need no socket.

The sender copies a message into a free area of the memory, and sends a reference to it over the socket. The
area is free again once nothing of the receiver refers to it. Without a free area, and if a message is larger
than one, it goes over the socket.

The memory has no name; the kernel frees it with the last process that has it. Its size is sealed, so that the
peer cannot take it away from who reads it. Pages that were never written take no memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import weakref
from collections.abc import Sequence

import numpy as np

from openenv_gym.wire.framing import BadFrameError, CloseCode, Payload

# Smaller messages are faster over the socket.
SMALLEST = 1 << 14
# The C library copies more than about a megabyte past the caches, where its receiver would find it: 1.6 MB
# took 0.18 ms instead of 0.03.
_COPIED_AT_ONCE = 1 << 18
# As many messages may be in use at a time, in each direction, and they may be as large.
_AREAS, _AREA_SIZE = 8, 1 << 26
# A page with a byte for each area, and then the areas: first those that the client writes.
_HEAD_SIZE = mmap.PAGESIZE
_SIZE = _HEAD_SIZE + 2 * _AREAS * _AREA_SIZE
_FREE, _USED = 0, 1

_REFERENCE = struct.Struct("<IIQ")
REFERENCE_SIZE = _REFERENCE.size
_MARK = 0xFFFF_FFFF  # the size that a message begins with is never that large

_MADV_POPULATE_WRITE = 23  # since Linux 5.14


class SharedMemory:
    """One side's view of the memory. One thread may write while another reads.

    Args:
        descriptor: The memory's file descriptor, which the caller may close afterwards.
        is_client: Whether this is the client's side.

    Raises:
        OSError: It is no such memory, or it cannot be used here.
    """

    def __init__(self, descriptor: int, *, is_client: bool) -> None:
        _check(descriptor)
        self._map = mmap.mmap(descriptor, _SIZE)
        self._bytes = memoryview(self._map)
        self._populate(0, _HEAD_SIZE)
        self._writes, self._reads = (0, _AREAS) if is_client else (_AREAS, 0)
        self._populated = [0] * _AREAS
        self._reading: set[int] = set()
        self._process = os.getpid()

    @staticmethod
    def create() -> int:
        """Create memory; its file descriptor.

        Raises:
            OSError: The system has none.
        """
        if sys.platform != "linux":
            raise OSError("this system has no such memory")
        import fcntl

        descriptor = os.memfd_create("openenv", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, _SIZE)
            fcntl.fcntl(
                descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            )
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def write(self, parts: Sequence[Payload], size: int) -> tuple[bytes] | None:
        """Copy a message into the memory; worthwhile from `SMALLEST` bytes on.

        Args:
            parts: The message, in parts that follow each other.
            size: Its size in bytes.

        Returns:
            The message to send instead, which refers to it; None if it has to go over the socket itself.
        """
        states = self._bytes[self._writes : self._writes + _AREAS]
        area = next((area for area, state in enumerate(states) if state == _FREE), None)
        if area is None or size > _AREA_SIZE or not self._has_pages(area, size):
            return None
        place = _begin(self._writes + area)
        for part in parts:
            view = memoryview(part)
            for begin in range(0, len(view), _COPIED_AT_ONCE):
                piece = view[begin : begin + _COPIED_AT_ONCE]
                end = place + len(piece)
                self._bytes[place:end] = piece
                place = end
        states[area] = _USED
        return (_REFERENCE.pack(_MARK, area, size),)

    def is_reference(self, payload: Payload) -> bool:
        """Whether a message of `REFERENCE_SIZE` is only a reference to one in the memory."""
        return bool(_REFERENCE.unpack(payload)[0] == _MARK)

    def read(self, reference: Payload, most: int) -> memoryview:
        """The message that a reference stands for. It stays as it is while something refers to its memory.

        Args:
            reference: The reference.
            most: The maximum size of a message in bytes.

        Raises:
            BadFrameError: The peer refers to something that is no message.
        """
        _, area, size = _REFERENCE.unpack(reference)
        if area >= _AREAS or not 0 < size <= _AREA_SIZE:
            raise BadFrameError(
                f"a reference to {size:,} bytes in area {area} is outside of the shared memory"
            )
        if size > most:
            raise BadFrameError(
                f"a message of {size:,} bytes exceeds the limit of {most:,}", CloseCode.TOO_BIG
            )
        if area in self._reading or self._bytes[self._reads + area] != _USED:
            raise BadFrameError(f"a reference to area {area} of the shared memory, which has no new message")
        self._reading.add(area)
        message = np.frombuffer(self._map, np.uint8, size, _begin(self._reads + area))
        # Arrays and views of the message keep this one, and with it the area.
        weakref.finalize(message, self._release, area).atexit = False
        return message.data

    def _release(self, area: int) -> None:
        if os.getpid() == self._process:  # a forked child has only a copy of what refers to it
            self._reading.discard(area)
            self._bytes[self._reads + area] = _FREE

    def _has_pages(self, area: int, size: int) -> bool:
        """Whether an area has memory for a message; without, to write there would end the process."""
        if size > self._populated[area]:
            pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            try:
                self._populate(_begin(self._writes + area), pages)
            except OSError:
                return False
            self._populated[area] = pages
        return True

    def _populate(self, begin: int, size: int) -> None:
        if sys.platform == "linux":
            self._map.madvise(_MADV_POPULATE_WRITE, begin, size)


def _begin(area: int) -> int:
    return _HEAD_SIZE + area * _AREA_SIZE


def _check(descriptor: int) -> None:
    """Check memory that another process may have made.

    Raises:
        OSError: It has another size, or its size may change.
    """
    if sys.platform != "linux":
        raise OSError("this system has no such memory")
    import fcntl

    if os.fstat(descriptor).st_size != _SIZE:
        raise OSError("the shared memory has another size")
    if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
        raise OSError("the shared memory may shrink")
