"""The thread that a session's environment lives on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from openenv_server.incidents import report

T = TypeVar("T")


class WorkerThread:
    """Runs one piece of work after another, always on the same thread.

    A queue and a wake-up of the loop, which takes half the time of a ThreadPoolExecutor: that one wakes a
    condition variable as well.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon, so that an environment that never returns does not keep the process from ending.
        threading.Thread(target=self._work, name="openenv-session", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> None:
        """Runs something that tells of its outcome, and of its failures, itself."""
        self._jobs.put(work)

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Runs something for the event loop that made the worker; await the result."""
        future: asyncio.Future[T] = self._loop.create_future()

        def run_and_tell() -> None:
            try:
                outcome, error = work(), None
            except BaseException as raised:
                outcome, error = None, raised
            try:
                self._loop.call_soon_threadsafe(_settle, future, outcome, error)
            except RuntimeError:
                return  # the loop is closed, and nobody waits any more

        self._jobs.put(run_and_tell)
        return future

    def stop(self) -> None:
        """Lets the thread end after the work that it has. Does not wait for it."""
        self._jobs.put(None)

    def _work(self) -> None:
        is_to_end = False
        while not (is_to_end and self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                is_to_end = True
                continue
            try:
                job()
            except BaseException as error:
                report(error, "work on a session's thread failed")
            del job  # what it holds need not wait for the next one


class StepLock:
    """Lets one environment at a time run. Its holder is named, so that another thread may give it up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[object, bool] = {}

    def acquire(self, holder: object) -> None:
        """Blocks until nobody else holds the lock."""
        self._lock.acquire()
        self._holders[holder] = True

    def release(self, holder: object) -> None:
        """Releases the lock if ``holder`` still holds it. Any thread may call it, and again."""
        if self._holders.pop(holder, False):  # atomic, so only one of two calls releases
            self._lock.release()

    @contextmanager
    def held_by(self, holder: object) -> Iterator[None]:
        """Hold the lock within a ``with`` block."""
        self.acquire(holder)
        try:
            yield
        finally:
            self.release(holder)


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(outcome)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        future.set_exception(error)
    else:
        # What would end the server, or a future refuses, is the environment's own failure all the same.
        wrapped = RuntimeError(f"the environment raised {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        future.set_exception(wrapped)
