"""What a client is told of slots that are not, or cannot be, open."""

from __future__ import annotations

from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode
from openenv_server.incidents import own_failure, report
from openenv_server.sessions import CapacityReachedError, FactoryFailedError


def not_open(number: int) -> v2.SlotError:
    """For a slot that was never opened, or is closed."""
    return v2.SlotError(
        number, ErrorCode.UNKNOWN_SESSION, f"Slot {number} is not open on this socket; open it first", {}
    )


def no_room(number: int, most: int) -> v2.SlotError:
    """For a slot beyond the most that a socket may have."""
    message = f"A socket has {most} slot{'s' if most != 1 else ''} at most (MAX_SLOTS_PER_SOCKET)"
    return v2.SlotError(number, ErrorCode.CAPACITY_REACHED, message, {})


def not_opened(number: int, error: BaseException) -> v2.SlotError:
    """For a slot whose session could not be opened."""
    match error:
        case CapacityReachedError():
            numbers = {"active_sessions": error.active, "max_sessions": error.capacity}
            return v2.SlotError(number, ErrorCode.CAPACITY_REACHED, str(error), numbers)
        case FactoryFailedError():
            details = {"factory_name": error.factory_name, "error_id": error.error_id}
            return v2.SlotError(number, ErrorCode.FACTORY_ERROR, str(error), details)
    error_id = report(error, "a session could not be opened")
    return v2.SlotError(number, ErrorCode.SESSION_ERROR, own_failure(error_id), {"error_id": error_id})
