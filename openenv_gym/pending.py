"""Calls made inside a running event loop before their caller has shown whether it awaits them.

Code for the published client awaits the same methods that other code, such as a notebook, calls without
``await``. `PendingCall` serves both.
"""

from __future__ import annotations

import asyncio
import contextvars
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutine
from typing import Any, TypeVar

T_co = TypeVar("T_co", covariant=True)

# Looked up by asyncio and IPython on objects of any kind; not a use of the result.
_NOT_A_USE = ("__", "cr_", "gi_", "ag_", "_repr_", "_ipython_")

is_driven: contextvars.ContextVar[bool] = contextvars.ContextVar("is_driven", default=False)
"""Whether the running coroutine was started by `driven`."""


class PendingCall(Coroutine[Any, Any, T_co]):
    """The result of a call that is carried out when it is awaited, or when the result is used.

    It is a coroutine, so ``asyncio.run`` and ``asyncio.create_task`` take it. Any other use (reading an
    attribute, iterating, ``with``) carries out the call, blocking, and is a use of the result.

    Args:
        name: The call, for messages.
        awaited: Makes the coroutine that carries it out on the running loop.
        blocking: Carries it out without one.
    """

    def __init__(
        self, name: str, awaited: Callable[[], Coroutine[Any, Any, T_co]], blocking: Callable[[], T_co]
    ) -> None:
        self._name = name
        self._awaited, self._blocking = awaited, blocking
        self._coroutine: Coroutine[Any, Any, T_co] | None = None
        self._results: list[T_co] = []
        self._is_used = False

    def _begun(self) -> Coroutine[Any, Any, T_co]:
        self._is_used = True
        if self._coroutine is None:
            self._coroutine = self._awaited()
        return self._coroutine

    def _result(self) -> T_co:
        self._is_used = True
        if not self._results:
            self._results.append(self._blocking())
        return self._results[0]

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        """Close the coroutine, or the result."""
        if self._results:
            self._results[0].close()  # type: ignore[attr-defined]
        else:
            self._begun().close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_NOT_A_USE):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )
        return getattr(self._result(), name)

    def __bool__(self) -> bool:
        return bool(self._result())

    def __len__(self) -> int:
        return len(self._result())  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        yield from self._result()  # type: ignore[misc]

    def __getitem__(self, key: Any) -> Any:
        return self._result()[key]  # type: ignore[index]

    def __contains__(self, part: object) -> bool:
        return part in self._result()  # type: ignore[operator]

    def __enter__(self) -> Any:
        return self._result().__enter__()  # type: ignore[attr-defined]

    def __exit__(self, *error: Any) -> Any:
        return self._result().__exit__(*error)  # type: ignore[attr-defined]

    async def __aenter__(self) -> Any:
        self._results = [await self]
        return await self._results[0].__aenter__()  # type: ignore[attr-defined]

    async def __aexit__(self, *error: Any) -> Any:
        return await self._results[0].__aexit__(*error)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return repr(self._results[0]) if self._results else f"<{self._name} is pending: await it>"

    def __del__(self) -> None:
        if not self._is_used:
            warnings.warn(
                f"{self._name} was neither awaited nor was its result used, so it was not carried out",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


def driven(result: Any) -> Any:
    """Return a result; if it is a coroutine, run it to its end first.

    Calls of clients inside it block, so that one client stays with blocking connections.

    Args:
        result: What a method returned, which may be an ``async def`` of an author's subclass.
    """
    if not iscoroutine(result):
        return result

    async def main() -> Any:
        is_driven.set(True)
        return await result

    # A thread, because an event loop may run in this one.
    with ThreadPoolExecutor(1, thread_name_prefix="openenv-client") as pool:
        return pool.submit(asyncio.run, main()).result()
