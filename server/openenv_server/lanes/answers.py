"""What slots gave, as frames: a column for each part over the slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from openenv_gym.wire import v2
from openenv_gym.wire.arrays import Attachments
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import Payload
from openenv_server.incidents import report
from openenv_server.lanes.contracts import Contract
from openenv_server.lanes.history import Done
from openenv_server.metrics import Durations, Tally

# Up to so many numbers are faster to send and to read one by one than as an array.
_FEW = 8


def result_frames(
    contract: Contract,
    request_id: int,
    done: Sequence[Done],
    arrived: float,
    tally: Tally,
    durations: Durations,
    as_payloads: bool,
) -> Iterator[list[Payload]]:
    """The answer to a reset or a step, as the parts of one frame.

    Where one slot's result cannot be sent, each slot has a frame of its own, and that one an error.

    Args:
        contract: What makes columns of observations.
        request_id: The request.
        done: What came of it in each slot.
        arrived: When the request came, by ``time.perf_counter()``.
        tally: Where errors are counted.
        durations: Where the seconds inside the environments are added.
        as_payloads: Send each observation as one JSON payload, as version 1 does.
    """
    try:
        yield _frame(contract, request_id, done, arrived, tally, durations, as_payloads)
    except Exception as error:
        if len(done) > 1:
            for one in done:
                yield from result_frames(contract, request_id, [one], arrived, tally, durations, as_payloads)
            return
        number = done[0][0]
        details = {"error_id": report(error, f"what slot {number} gave cannot be sent")}
        message = f"{type(error).__name__}: {error}"
        failure = v2.SlotError(number, ErrorCode.EXECUTION_ERROR, message, details)
        yield _frame(contract, request_id, [failure], arrived, tally, durations, as_payloads)


def _frame(
    contract: Contract,
    request_id: int,
    done: Sequence[Done],
    arrived: float,
    tally: Tally,
    durations: Durations,
    as_payloads: bool,
) -> list[Payload]:
    errors = [one for one in done if type(one) is v2.SlotError]
    outcomes = [one for one in done if type(one) is not v2.SlotError] if errors else done
    if not outcomes:
        _count(errors, tally)
        return v2.encode(v2.Result(id=request_id, slots=[], observations=[], rewards=[], errors=errors))
    slots, observations, rewards, terminated, truncated, infos, finals, seconds = zip(*outcomes, strict=True)
    attachments = Attachments()
    frame = v2.encode(
        v2.Result(
            id=request_id,
            slots=list(slots),
            observations=contract.payloads(observations)
            if as_payloads
            else contract.observations(observations, attachments),
            rewards=rewards if as_payloads else _column(rewards, np.float64),
            terminated=_column(terminated, np.bool_) if any(terminated) else None,
            truncated=_column(truncated, np.bool_) if any(truncated) else None,
            infos=[(place, contract.info(info)) for place, info in enumerate(infos) if info]
            if any(infos)
            else [],
            final=_final(contract, finals, attachments, as_payloads) if any(finals) else None,
            environment_us=_column(seconds, np.float64, 1e6),
            server_us=(perf_counter() - arrived) * 1e6,
            errors=errors,
        ),
        attachments,
    )
    durations.add_all(seconds)
    _count(errors, tally)
    return frame


def _count(errors: Sequence[v2.SlotError], tally: Tally) -> None:
    for error in errors:
        tally.count_error(error.code)


def _final(
    contract: Contract,
    finals: Sequence[tuple[Any, dict[str, Any]] | None],
    attachments: Attachments,
    as_payloads: bool,
) -> v2.Final:
    ended = [(place, *final) for place, final in enumerate(finals) if final is not None]
    observations = [observation for _, observation, _ in ended]
    return v2.Final(
        places=[place for place, _, _ in ended],
        observations=contract.payloads(observations)
        if as_payloads
        else contract.observations(observations, attachments),
        infos=[contract.info(info) for _, _, info in ended],
    )


def _column(values: Sequence[Any], dtype: type[np.generic], factor: float = 1) -> Any:
    """Numbers of many slots as an array, and of a few as a list."""
    array = np.array(values, dtype)
    if factor != 1:
        array *= factor
    return array.tolist() if len(values) <= _FEW else array
