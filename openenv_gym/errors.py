"""Every error that this project raises on purpose.

    OpenEnvError
    ├── ConfigurationError            what was asked for cannot be set up (also a ValueError)
    │   ├── InvalidEndpointError      a base URL that is not one
    │   ├── RenderModeError           a render mode that there is not (also a TypeError)
    │   ├── UnknownNameError          gym.make("openenv/NAME") with a NAME that nothing registers
    │   └── MissingExtraError         needs a package that an extra brings (also an ImportError)
    ├── UsageError                    a call that is out of turn
    │   ├── ResetNeededError          step before reset (also gymnasium.error.ResetNeeded)
    │   └── ClosedError               a call after close (also gymnasium.error.ClosedEnvironmentError)
    ├── SpaceError                    spaces and schemas (also a ValueError)
    │   ├── SchemaError               a schema that no space can be made from
    │   └── ActionOutsideSpaceError   an action that is not in the action space
    ├── EndpointError                 the way to the server
    │   ├── EndpointUnreachableError  nothing answers there (also a ConnectionError)
    │   ├── NotAnOpenEnvServerError   something answers, but it is not an OpenEnv server
    │   ├── UntrustedServerError      its certificate is not trusted, or for another host
    │   ├── AccessRefusedError        it lets this client in not at all (403), or not now (429)
    │   │   └── UnauthorizedError     it asks for a key that it was not shown (401)
    │   ├── SessionLostError          the connection broke, and the session with it (also a ConnectionError)
    │   │   └── ServerEndedError      the server that was started for an environment has ended
    │   ├── DeadlineExceededError     no answer in time (also a TimeoutError)
    │   └── ProtocolError             a message that the protocol does not allow
    ├── HubError                      the Hugging Face Hub refuses, fails, or cannot be reached
    ├── DockerError                   Docker did not do what it was asked for
    └── RemoteError                   the server answered with an error; it has a code
        ├── CapacityError             the server has no free session
        ├── StepTimeoutError          the server gave up on a reset or a step (also a TimeoutError)
        ├── ActionRefusedError        the server's action model refuses the message (also a ValueError)
        └── RemoteEnvironmentError    the environment itself raised

Each message says what happened, where, and what to do next.
"""

from __future__ import annotations

from typing import Any

from gymnasium.error import ClosedEnvironmentError, NameNotFound, ResetNeeded


class OpenEnvError(Exception):
    """The root of the tree: ``except OpenEnvError`` catches all that this project raises."""


class ConfigurationError(OpenEnvError, ValueError):
    """What was asked for cannot be set up."""


class InvalidEndpointError(ConfigurationError):
    """A base URL that is not one."""


class RenderModeError(ConfigurationError, TypeError):
    """A render mode that an environment does not have.

    A TypeError as well, as from an environment that takes none: libraries that try one, such as
    Stable-Baselines3, go on without it then.
    """


class UnknownNameError(ConfigurationError, NameNotFound):
    """``gym.make("openenv/NAME")`` with a NAME that nothing registers."""


class MissingExtraError(ConfigurationError, ImportError):
    """A feature whose packages come with an extra that is not installed.

    Args:
        feature: What was asked for, as the user wrote it.
        extra: The extra of ``openenv-gym`` that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.feature, self.extra = feature, extra
        super().__init__(
            f"{feature} comes with the {extra} extra, which is not here: pip install 'openenv-gym[{extra}]'"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.feature, self.extra)  # for it may come from a node of a Ray cluster


class UsageError(OpenEnvError):
    """A call that is out of turn."""


class ResetNeededError(UsageError, ResetNeeded):
    """A step where no episode is under way."""


class ClosedError(UsageError, ClosedEnvironmentError):
    """A call on something that was closed."""


class SpaceError(OpenEnvError, ValueError):
    """Something is wrong with a space, or an element of one."""


class SchemaError(SpaceError):
    """A schema that no space can be made from."""


class ActionOutsideSpaceError(SpaceError):
    """An action that is not in the action space."""


class EndpointError(OpenEnvError):
    """The way to the server failed."""


class EndpointUnreachableError(EndpointError, ConnectionError):
    """Nothing answers at the endpoint."""


class NotAnOpenEnvServerError(EndpointError):
    """Something answers at the endpoint, but it is not an OpenEnv server."""


class UntrustedServerError(EndpointError):
    """The server's certificate is not one that is trusted here, or it is for another host."""


class AccessRefusedError(EndpointError):
    """The server refuses this client, and says why."""


class UnauthorizedError(AccessRefusedError):
    """The server asks for a key, and was shown none, or another. No message has the key."""


class SessionLostError(EndpointError, ConnectionError):
    """The connection broke, and the session on the server with it."""


class ServerEndedError(SessionLostError):
    """A server that was started for this environment has ended. The message has its last words."""


class DeadlineExceededError(EndpointError, TimeoutError):
    """No answer came in time. The connection was dropped: a late answer is never taken for a new one."""


class ProtocolError(EndpointError):
    """A message that the protocol does not allow."""


class HubError(OpenEnvError):
    """The Hugging Face Hub refuses, fails, or cannot be reached. No message has a secret."""


class DockerError(OpenEnvError):
    """Docker did not do what it was asked for: a build or a push failed, or there is no such image."""


class RemoteError(OpenEnvError):
    """The server answered with an error.

    Args:
        message: What happened, where, and what to do next.
        code: The protocol's code (``EXECUTION_ERROR``, …).
        details: The rest of the error as the server sent it.
    """

    def __init__(self, message: str, *, code: str, details: dict[str, Any] | None = None) -> None:
        self.code = code
        self.details = details or {}
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions travel between processes (AsyncVectorEnv), and keyword-only arguments do not pickle.
        return _rebuild_remote_error, (type(self), str(self), self.code, self.details)


def _rebuild_remote_error(
    kind: type[RemoteError], message: str, code: str, details: dict[str, Any]
) -> RemoteError:
    return kind(message, code=code, details=details)


class CapacityError(RemoteError):
    """The server has not as many free sessions as were asked for.

    Attributes:
        asked_for: How many were.
        available: How many there were; None where the server does not say.
        in_all: How many the servers have, in use or not, where that is less than what was asked for, so that
            there is no use in waiting; else None.
    """

    @property
    def asked_for(self) -> int:
        return int(self.details.get("asked_for", 1))

    @property
    def available(self) -> int | None:
        available = self.details.get("available")
        return None if available is None else int(available)

    @property
    def in_all(self) -> int | None:
        in_all = self.details.get("in_all")
        return None if in_all is None else int(in_all)


class StepTimeoutError(RemoteError, TimeoutError):
    """A reset or a step took longer than the server lets it. The session is closed."""


class ActionRefusedError(RemoteError, ValueError):
    """The server's model refuses the fields of an action, or of a reset."""


class RemoteEnvironmentError(RemoteError):
    """The environment itself raised on the server. The session is still there."""
