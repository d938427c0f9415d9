"""How a socket waits: awake only where that pays."""

from __future__ import annotations

import socket
import time
from threading import Timer

from openenv_gym.transport.patience import MOST_S, Patience

TIMES = 50


def test_messages_that_come_late_again_and_again_are_waited_for_asleep() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        patience, memory = Patience(ours), memoryview(bytearray(8))
        awake_s = 0.0
        for _ in range(TIMES):
            theirs.send(b"x")
            assert patience.receive_into(memory) == 1
            Timer(5 * MOST_S, theirs.send, [b"x"]).start()
            begin = time.thread_time()
            assert patience.receive_into(memory) == 1
            awake_s += time.thread_time() - begin
    assert awake_s < TIMES * MOST_S / 4
