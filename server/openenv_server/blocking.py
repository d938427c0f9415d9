"""Notice an environment's coroutine that blocks the event loop, on which all sessions depend."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Coroutine, Generator
from time import perf_counter
from typing import Any, Generic, TypeVar

T = TypeVar("T")
# The event loop may stand still for this long, in seconds, before that is logged.
MAX_BLOCK_S = 0.1

log = logging.getLogger("openenv_server")
_logged: weakref.WeakSet[type] = weakref.WeakSet()


async def watched(coroutine: Coroutine[Any, Any, T], kind: type, method: str) -> T:
    """Await an environment's coroutine; log the first time that one of its class blocks the event loop.

    Args:
        coroutine: The coroutine.
        kind: The environment's class.
        method: The method that made the coroutine.
    """
    return await (coroutine if kind in _logged else _Watched(coroutine, kind, method))


class _Watched(Generic[T]):
    """A coroutine whose parts between two awaits are timed."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], kind: type, method: str) -> None:
        self._coroutine, self._kind, self._method = coroutine, kind, method

    def __await__(self) -> Generator[Any, Any, T]:
        value, error = None, None
        while True:
            begin = perf_counter()
            try:
                awaited = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                if (took_s := perf_counter() - begin) > MAX_BLOCK_S:
                    self._log(took_s)
            try:
                value, error = (yield awaited), None
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as raised:
                value, error = None, raised

    def _log(self, took_s: float) -> None:
        if self._kind in _logged:
            return
        _logged.add(self._kind)
        log.warning(
            "%s.%s blocks the event loop: it ran for %.2f s without an await, and all other sessions "
            "waited. Write it as a plain `def`, which runs on its session's thread, or move the slow part to "
            "`await asyncio.to_thread(…)`.",
            self._kind.__name__,
            self._method,
            took_s,
        )
