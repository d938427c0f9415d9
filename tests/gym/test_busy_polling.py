"""Busy-polling: only where it is worthwhile."""

from __future__ import annotations

import socket
import time
from threading import Timer

from openenv_gym.transport.frame_socket import BUSY_POLL_S, BusyPoller

TIMES = 50


def test_a_socket_whose_messages_keep_coming_late_blocks() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller, memory = BusyPoller(ours), memoryview(bytearray(8))
        polling_s = 0.0
        for _ in range(TIMES):
            theirs.send(b"x")
            assert poller.receive_into(memory) == 1
            Timer(5 * BUSY_POLL_S, theirs.send, [b"x"]).start()
            begin = time.thread_time()
            assert poller.receive_into(memory) == 1
            polling_s += time.thread_time() - begin
    assert polling_s < TIMES * BUSY_POLL_S / 4


def test_a_moment_of_disturbance_does_not_stop_polling() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller, memory = BusyPoller(ours), memoryview(bytearray(8))
        for _ in range(5):
            Timer(5 * BUSY_POLL_S, theirs.send, [b"x"]).start()
            poller.receive_into(memory)
            for _ in range(12):
                theirs.send(b"x")
                poller.receive_into(memory)
        begin = time.thread_time()
        Timer(5 * BUSY_POLL_S, theirs.send, [b"x"]).start()
        poller.receive_into(memory)
        assert time.thread_time() - begin > BUSY_POLL_S / 2
