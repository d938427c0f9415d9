"""Trainings in remote environments beside the same ones in local environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch


class Trained(NamedTuple):
    """A training that has ended.

    Attributes:
        weights: The parameters of all networks, tensors or arrays, by name.
        fps: Steps of environments per second.
    """

    weights: Mapping[str, Any]
    fps: float


def assert_all_the_same(what: str, trainings: Mapping[str, Callable[[], Trained]]) -> None:
    """Train in each kind of environments, the local one first; compare weights, print the speed of each."""
    results = {kind: train() for kind, train in trainings.items()}
    local = next(iter(results.values()))
    assert local.weights
    for kind, (weights, fps) in results.items():
        print(f"{what}, {kind}: {fps:.0f} fps, {fps / local.fps:.2f} of the local one's")
        assert weights.keys() == local.weights.keys()
        for name, weight in weights.items():
            same = torch.equal(torch.as_tensor(weight), torch.as_tensor(local.weights[name]))
            assert same, f"{kind}, {name}"
