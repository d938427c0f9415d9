"""Every error that this project raises on purpose.

    OpenEnvError
    ├── ConfigurationError            a setting that cannot work (also a ValueError)
    │   ├── InvalidEndpointError      a malformed base URL
    │   ├── RenderModeError           an unsupported render mode (also a TypeError)
    │   ├── UnknownKeywordError       an unknown keyword argument (also a TypeError)
    │   ├── UnknownNameError          gym.make("openenv/NAME") with an unregistered NAME
    │   ├── MissingExtraError         needs a package from an extra (also an ImportError)
    │   └── ProviderError             a provider cannot start its server (also a RuntimeError)
    ├── UsageError                    a call out of order (also a RuntimeError)
    │   ├── ResetNeededError          step before reset (also gymnasium.error.ResetNeeded)
    │   ├── ClosedError               a call after close (also gymnasium.error.ClosedEnvironmentError)
    │   ├── ResetMaskError            a malformed options["reset_mask"] (also a TypeError, a ValueError, …)
    │   ├── PendingCallError          a slot has a call pending (also gymnasium.error.AlreadyPendingCallError)
    │   ├── NoPendingCallError        step_wait before step_async (also gymnasium.error.NoAsyncCallError)
    │   └── LocalAttributeError       what only an environment in this process has (also an AttributeError)
    ├── SpaceError                    spaces and schemas (also a ValueError)
    │   ├── SchemaError               a schema that cannot become a space
    │   └── ActionOutsideSpaceError   an action outside the action space
    │       └── NotABatchError        a vector environment's action that is not iterable (also a TypeError)
    ├── EndpointError                 the connection to the server
    │   ├── EndpointUnreachableError  nothing answers (also a ConnectionError)
    │   ├── NotAnOpenEnvServerError   something else answers (also a ConnectionError)
    │   ├── UntrustedServerError      its certificate is not trusted here (also a ConnectionError)
    │   ├── AccessRefusedError        403, or 429 for too many requests (also a ConnectionError)
    │   │   └── UnauthorizedError     the server wants a key (401)
    │   ├── SessionLostError          the connection broke and the session is gone (also a ConnectionError)
    │   │   └── ServerEndedError      the server started for this environment has exited
    │   ├── DeadlineExceededError     no response in time (also a TimeoutError and a ConnectionError)
    │   │   └── WaitTimeoutError      step_wait ran out of time (also multiprocessing.TimeoutError)
    │   └── ProtocolError             a message that violates the protocol
    ├── HubError                      the Hugging Face Hub refuses, fails, or is unreachable
    ├── DockerError                   a Docker operation failed
    ├── GitError                      git, or a git server, failed (also a RuntimeError)
    ├── LanguageModelError            a language model's endpoint refuses, fails, or is unreachable
    └── RemoteError                   the server responded with an error; it has a code
        ├── CapacityError             the server has no free session (also a ConnectionError)
        ├── StepTimeoutError          the server gave up on a reset or a step (also a TimeoutError)
        ├── ActionRefusedError        the server's action model rejects the message (also a ValueError)
        └── RemoteEnvironmentError    the environment itself raised

``str(error)`` says what happened, where, and what to do next. The same facts are attributes, so no code has
to read the text: see `OpenEnvError`. ``error.help_url`` leads to the section of the documentation about it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

from gymnasium.error import (
    AlreadyPendingCallError,
    ClosedEnvironmentError,
    NameNotFound,
    NoAsyncCallError,
    ResetNeeded,
)

CALL_RESET = "Call reset for a new session."
DOCUMENTATION = "https://openenv-gym.github.io/openenv-gym"


def excerpt(value: object) -> str:
    """Return the ``repr`` of a value for a message, cut to 200 characters."""
    try:
        shown = repr(value)
    except Exception:  # too deep, or an integer of too many digits
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


class OpenEnvError(Exception):
    """The root of the tree: ``except OpenEnvError`` catches everything this project raises on purpose.

    Args:
        message: What happened and where, in one or two sentences.
        advice: What to do next. ``str(error)`` ends with it.
        endpoint: The base URL of the server involved.
        operation: The request that failed, ``"step 12"``.
        slots: The slots of a vector environment that are affected.
        log: The last log lines of the server involved. ``str(error)`` ends with them.

    Attributes:
        message: As given; all are attributes under the same names.
    """

    def __init__(
        self,
        message: str = "",
        *,
        advice: str = "",
        endpoint: str | None = None,
        operation: str | None = None,
        slots: Sequence[int] = (),
        log: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.endpoint = endpoint
        self.operation = operation
        self.slots: tuple[int, ...] = tuple(slots)
        self.log = log

    @property
    def help_url(self) -> str:
        """The section of the documentation about this error: what it means, and what to do."""
        documented = next(kind for kind in type(self).__mro__ if kind.__module__.startswith("openenv_"))
        return f"{DOCUMENTATION}/errors/#{documented.__name__.lower()}"

    def __str__(self) -> str:
        stop = "" if self.message.endswith((".", "!", "?", ":")) else "."
        text = f"{self.message}{stop} {self.advice}" if self.advice else self.message
        return f"{text}\nLast log lines:\n{self.log}" if self.log else text


class ConfigurationError(OpenEnvError, ValueError):
    """A setting that cannot work."""


class InvalidEndpointError(ConfigurationError):
    """A malformed base URL."""


class RenderModeError(ConfigurationError, TypeError):
    """A render mode that an environment does not support.

    Also a TypeError, like a constructor without that keyword: libraries that probe for a render mode, such as
    Stable-Baselines3, then continue without it.
    """


class UnknownKeywordError(ConfigurationError, TypeError):
    """A keyword argument that a function does not take.

    The message begins as Python's own does: libraries that probe for keywords, such as TorchRL, look for
    these words.
    """


class UnknownNameError(ConfigurationError, NameNotFound):
    """``gym.make("openenv/NAME")`` with an unregistered NAME."""


class MissingExtraError(ConfigurationError, ImportError):
    """A feature whose packages come with an extra that is not installed.

    Args:
        feature: The feature, as the user wrote it.
        extra: The extra of ``openenv-gym`` that provides it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(
            f"{feature} needs the {extra} extra, which is not installed.",
            advice=f"Run: pip install 'openenv-gym[{extra}]' (in a checkout: '.[{extra}]')",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.feature, self.extra)  # a Ray worker may have raised it


class ProviderError(ConfigurationError, RuntimeError):
    """A provider with the published interface cannot start its server, or the server has ended."""


class UsageError(OpenEnvError, RuntimeError):
    """A call out of order."""


class ResetNeededError(UsageError, ResetNeeded):
    """A step without a running episode."""


class ClosedError(UsageError, ClosedEnvironmentError):
    """A call on a closed object."""


class ResetMaskError(UsageError, TypeError, ValueError, AssertionError):
    """A malformed ``options["reset_mask"]``.

    Gymnasium raises a TypeError or a ValueError, and before version 1.4 an AssertionError.
    """


class PendingCallError(AlreadyPendingCallError, UsageError):
    """A slot has a reset or a step pending.

    Args:
        message: As in `OpenEnvError`.
        name: The pending call.
    """

    def __init__(self, message: str, name: str = "step") -> None:
        super().__init__(message, name)


class NoPendingCallError(NoAsyncCallError, UsageError):
    """A call to wait for was not begun.

    Args:
        message: As in `OpenEnvError`.
        name: The call that should have been begun.
    """

    def __init__(self, message: str, name: str = "step") -> None:
        super().__init__(message, name)


class LocalAttributeError(UsageError, AttributeError):
    """An attribute or a method that only an environment in this process has."""


class SpaceError(OpenEnvError, ValueError):
    """A problem with a space, or with an element of one."""


class SchemaError(SpaceError):
    """A schema that cannot become a space."""


class ActionOutsideSpaceError(SpaceError):
    """An action outside the action space."""


class NotABatchError(ActionOutsideSpaceError, TypeError):
    """An action of a vector environment that is not iterable."""


class EndpointError(OpenEnvError):
    """The connection to the server failed."""


class EndpointUnreachableError(EndpointError, ConnectionError):
    """Nothing answers at the endpoint."""


class NotAnOpenEnvServerError(EndpointError, ConnectionError):
    """Something answers at the endpoint, but it is not an OpenEnv server."""


class UntrustedServerError(EndpointError, ConnectionError):
    """The server's certificate is not trusted here, or names another host."""


class AccessRefusedError(EndpointError, ConnectionError):
    """The server refuses this client, and says why."""


class UnauthorizedError(AccessRefusedError):
    """The server wants a key and got none, or a wrong one. No message contains the key."""


class SessionLostError(EndpointError, ConnectionError):
    """The connection broke, and the session on the server is gone.

    Args:
        message: As in `OpenEnvError`.
        retryable: Whether a reset in a new session makes sense: the network or the server's process failed.
            False if the server closed the session on purpose and would do so again.
        advice: As in `OpenEnvError`; "Call reset for a new session." by default.
        **context: As in `OpenEnvError`.
    """

    def __init__(
        self, message: str = "", *, retryable: bool = False, advice: str = CALL_RESET, **context: Any
    ) -> None:
        super().__init__(message, advice=advice, **context)
        self.retryable = retryable


class ServerEndedError(SessionLostError):
    """A server started for this environment has exited. The message has its last log lines."""


class DeadlineExceededError(EndpointError, ConnectionError, TimeoutError):
    """No response in time. The session is closed, so a late response is never taken for a new one."""


class WaitTimeoutError(DeadlineExceededError, multiprocessing.TimeoutError):
    """``step_wait``, ``reset_wait`` or ``recv(slots=…)`` ran out of time. Nothing was lost: wait again."""


class ProtocolError(EndpointError):
    """A message that violates the protocol."""


class HubError(OpenEnvError):
    """The Hugging Face Hub refuses, fails, or is unreachable. No message contains a secret."""


class DockerError(OpenEnvError):
    """A Docker operation failed: a build, a push, or a missing image."""


class GitError(OpenEnvError, RuntimeError):
    """A git command, or a request to a git server, failed."""


class LanguageModelError(OpenEnvError):
    """A language model's endpoint refuses, fails, or is unreachable."""


class RemoteError(OpenEnvError, RuntimeError):
    """The server responded with an error.

    Args:
        message: As in `OpenEnvError`.
        code: The protocol's code (``EXECUTION_ERROR``, …).
        details: The rest of the error, as the server sent it.
        server_message: The server's own message, without our context.
        **context: As in `OpenEnvError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "INTERNAL_ERROR",
        details: dict[str, Any] | None = None,
        server_message: str = "",
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.code = code
        self.details: dict[str, Any] = details or {}
        self.server_message: str = server_message or message


class CapacityError(RemoteError, ConnectionError):
    """The server has fewer free sessions than requested.

    Args:
        message: As in `OpenEnvError`.
        asked_for: How many sessions were requested.
        available: How many were free; None if the server does not say.
        in_all: How many the servers have in total, free or not, if that is less than ``asked_for`` and
            waiting is pointless; else None.
        refused: How many slots were refused one by one, over version 1 of the protocol.
        **context: As in `RemoteError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        asked_for: int = 1,
        available: int | None = None,
        in_all: int | None = None,
        refused: int = 0,
        **context: Any,
    ) -> None:
        super().__init__(message, **{"code": "CAPACITY_REACHED", **context})
        self.asked_for = asked_for
        self.available = available
        self.in_all = in_all
        self.refused = refused


class StepTimeoutError(RemoteError, TimeoutError):
    """A reset or a step took longer than the server allows. The session is closed."""


class ActionRefusedError(RemoteError, ValueError):
    """The server's model rejects the fields of an action, or of a reset."""


class RemoteEnvironmentError(RemoteError):
    """The environment itself raised on the server. The session continues.

    The server's traceback is under ``details["error_id"]`` in its log.
    """
