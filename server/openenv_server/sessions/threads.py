"""The thread of a session, on which its environment is made, driven and closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from openenv_server.errors import log_error

T = TypeVar("T")


class WorkerThread:
    """Runs one job after another, always on the same thread.

    A queue and a wake-up of the event loop take half the time of a ThreadPoolExecutor, which also wakes a
    condition variable.

    Attributes:
        thread: The thread itself.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon, so an environment that never returns does not keep the process alive.
        self.thread: threading.Thread = threading.Thread(
            target=self._work, name="openenv-session", daemon=True
        )
        self.thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue a job that handles its own result and failures."""
        self._jobs.put(work)

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run a job for the running event loop; await the result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run_and_report() -> None:
            try:
                result, error = work(), None
            except BaseException as raised:
                result, error = None, raised
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed, and nobody waits any more

        self._jobs.put(run_and_report)
        return future

    def stop(self) -> None:
        """End the thread after the jobs in its queue. Does not wait."""
        self._jobs.put(None)

    def _work(self) -> None:
        is_stopping = False
        while not (is_stopping and self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                is_stopping = True
                continue
            try:
                job()
            except BaseException as error:
                log_error(error, "a job on a session's thread failed")
            del job  # so that what it refers to is freed before the next job


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        future.set_exception(error)
    else:
        # SystemExit would end the server, and a future refuses StopIteration.
        wrapped = RuntimeError(f"the environment raised {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        future.set_exception(wrapped)
