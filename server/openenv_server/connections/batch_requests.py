"""Requests to slots of which some are batches: who runs, with which argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.columns import select
from openenv_gym.wire import v2
from openenv_server.connections.adapters import Adapter, GymnasiumAdapter
from openenv_server.connections.batch_slot import BatchReset, BatchSlot
from openenv_server.connections.slot import Slot, SlotResult


def reset(slot: Slot, data: Any) -> SlotResult:
    """`Slot.reset`, or that of a batch."""
    return slot.reset(data)


def step(slot: Slot, action: Any) -> SlotResult:
    """`Slot.step`, or that of a batch."""
    return slot.step(action)


def reset_data(options: dict[str, Any], seeds: Sequence[int | None]) -> list[Any]:
    """Return the keywords of each slot's reset."""
    return [options if seed is None else {**options, "seed": seed} for seed in seeds]


def batch_resets(
    slots: Mapping[int, Slot], request: v2.Reset, seeds: Sequence[int | None]
) -> tuple[list[int], list[Any]]:
    """Return the numbers of the batches and of the other slots that a reset names, and the data of each."""
    seed_of = dict(zip(request.slots, seeds, strict=True))
    numbers: list[int] = []
    data: list[Any] = []
    for batch, _ in _batches(slots, request.slots):
        named = [place for place, number in enumerate(batch.numbers) if number in seed_of]
        its_seeds = [seed_of.get(number) for number in batch.numbers]
        numbers.append(batch.number)
        data.append(BatchReset(None if len(named) == len(its_seeds) else named, its_seeds, request.options))
    others = _others(slots, request.slots)
    numbers += [request.slots[place] for place in others]
    data += reset_data(request.options, [seeds[place] for place in others])
    return numbers, data


def batch_actions(
    slots: Mapping[int, Slot], request: v2.Step, adapter: Adapter
) -> tuple[list[int], list[Any]]:
    """Return the numbers of the batches and of the other slots that a step names, and the action of each.

    Raises:
        SpaceError: The actions do not fit, or the step leaves out some slots of a batch.
    """
    assert isinstance(adapter, GymnasiumAdapter)
    if (whole := _whole_batch(slots, request.slots)) is not None:
        return [whole.number], [adapter.action_batch(request.actions, len(request.slots))]
    numbers: list[int] = []
    actions: list[Any] = []
    for batch, places in _batches(slots, request.slots):
        if places is None:
            raise SpaceError(
                f"this server steps the slots {batch.numbers[0]} to {batch.numbers[-1]} together, so a step "
                "has to name all of them"
            )
        column = request.actions if len(places) == len(request.slots) else select(request.actions, places)
        numbers.append(batch.number)
        actions.append(adapter.action_batch(column, len(places)))
    if others := _others(slots, request.slots):
        numbers += [request.slots[place] for place in others]
        actions += adapter.actions(select(request.actions, others), len(others))
    return numbers, actions


def _whole_batch(slots: Mapping[int, Slot], numbers: Sequence[int]) -> BatchSlot | None:
    """Return the batch whose slots these are, all of them in its order; None if there is no such batch."""
    first = slots.get(numbers[0]) if numbers else None
    return first if isinstance(first, BatchSlot) and first.is_all_of(numbers) else None


def _batches(
    slots: Mapping[int, Slot], numbers: Sequence[int]
) -> list[tuple[BatchSlot, Sequence[int] | None]]:
    """Return the batches among some slots, and the places of their slots, or None if not all are named."""
    found = dict.fromkeys(slots.get(number) for number in numbers)
    place_of = {number: place for place, number in enumerate(numbers)}
    return [
        (
            batch,
            [place_of[number] for number in batch.numbers] if place_of.keys() >= set(batch.numbers) else None,
        )
        for batch in found
        if isinstance(batch, BatchSlot)
    ]


def _others(slots: Mapping[int, Slot], numbers: Sequence[int]) -> list[int]:
    """Return the places of slots that are in no batch."""
    return [place for place, number in enumerate(numbers) if not isinstance(slots.get(number), BatchSlot)]
