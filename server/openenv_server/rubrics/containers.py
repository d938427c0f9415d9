"""Rubrics made of rubrics."""

from __future__ import annotations

import asyncio
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

from openenv_server.rubrics.evaluation import Steps, drive, is_pending
from openenv_server.rubrics.rubric import Rubric


class _Numbered(Rubric):
    """Rubrics named ``rubric_0``, ``rubric_1`` and so on."""

    def __init__(self, rubrics: Iterable[Rubric]) -> None:
        super().__init__()
        self._count = 0
        for rubric in rubrics:
            self._add(rubric)

    def _add(self, rubric: Rubric) -> None:
        setattr(self, f"rubric_{self._count}", rubric)
        self._count += 1

    @property
    def _rubric_list(self) -> list[Rubric]:
        return [getattr(self, f"rubric_{number}") for number in range(self._count)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Rubric:
        return self._rubric_list[index]

    def __iter__(self) -> Iterator[Rubric]:
        return iter(self._rubric_list)


class Sequential(_Numbered):
    """Evaluate rubrics in order, and stop with 0 at the first that is 0; otherwise the last one's score.

    Without rubrics, the score is 1.

    Example:
        >>> Sequential(Gate(Compiles()), WeightedSum([Passes(), Style()], weights=[0.8, 0.2]))
    """

    def __init__(self, *rubrics: Rubric) -> None:
        super().__init__(rubrics)

    def forward(self, action: Any, observation: Any) -> Any:
        """Return the last score, or 0 if one of them is."""
        return drive(self._in_order(action, observation))

    def _in_order(self, action: Any, observation: Any) -> Steps:
        score = 1.0
        for rubric in self._rubric_list:
            score = yield rubric(action, observation)
            if score == 0:
                return 0.0
        return score


class Gate(Rubric):
    """The score of a rubric if it reaches a threshold, otherwise 0.

    Args:
        rubric: The rubric.
        threshold: The least score that passes.
    """

    def __init__(self, rubric: Rubric, threshold: float = 1.0) -> None:
        super().__init__()
        self.rubric = rubric
        self.threshold = threshold

    def forward(self, action: Any, observation: Any) -> Any:
        """Return the rubric's score, or 0 below the threshold."""
        return drive(self._gated(action, observation))

    def _gated(self, action: Any, observation: Any) -> Steps:
        score = yield self.rubric(action, observation)
        return 0.0 if score < self.threshold else score


class WeightedSum(_Numbered):
    """The weighted sum of the scores of rubrics; those that are async are evaluated at the same time.

    Args:
        rubrics: The rubrics.
        weights: A weight for each; their sum is 1.

    Raises:
        ValueError: The numbers of rubrics and weights differ, or the sum of the weights is not 1.
    """

    def __init__(self, rubrics: Sequence[Rubric], weights: Sequence[float]) -> None:
        super().__init__(rubrics)
        if len(rubrics) != len(weights):
            raise ValueError(f"The number of rubrics, {len(rubrics)}, is not that of weights, {len(weights)}")
        if abs(sum(weights) - 1) > 1e-6:
            raise ValueError(f"The sum of the weights must be 1, got {sum(weights)}")
        self._weights = [*weights]

    @property
    def weights(self) -> list[float]:
        """A copy of the weights."""
        return [*self._weights]

    def forward(self, action: Any, observation: Any) -> Any:
        """Return the weighted sum."""
        return drive(self._summed(action, observation))

    def _summed(self, action: Any, observation: Any) -> Steps:
        scores = [rubric(action, observation) for rubric in self._rubric_list]
        pending = [place for place, score in enumerate(scores) if is_pending(score)]
        if pending:
            settled = yield _gathered([scores[place] for place in pending])
            for place, score in zip(pending, settled, strict=True):
                scores[place] = score
        return sum((score * weight for score, weight in zip(scores, self._weights, strict=True)), 0.0)


async def _gathered(pending: list[Any]) -> list[Any]:
    return await asyncio.gather(*pending)


class RubricList(_Numbered):
    """A list of rubrics, for a parent to choose from.

    Args:
        rubrics: The first rubrics.

    Example:
        >>> class PerLevel(Rubric):
        ...     def __init__(self):
        ...         self.levels = RubricList([Easy(), Hard()])
        ...
        ...     def forward(self, action, observation):
        ...         return self.levels[observation.level](action, observation)
    """

    def __init__(self, rubrics: Iterable[Rubric] | None = None) -> None:
        super().__init__(rubrics or ())

    def forward(self, action: Any, observation: Any) -> float:
        """Raise an error: the parent chooses.

        Raises:
            NotImplementedError: Always.
        """
        raise _no_score(self)

    def append(self, rubric: Rubric) -> None:
        """Add a rubric."""
        self._add(rubric)

    def extend(self, rubrics: Iterable[Rubric]) -> None:
        """Add rubrics."""
        for rubric in rubrics:
            self._add(rubric)


class RubricDict(Rubric):
    """Rubrics by key, for a parent to choose from: one for each task, for example.

    Args:
        rubrics: The first rubrics.

    Example:
        >>> class PerGame(Rubric):
        ...     def __init__(self):
        ...         self.games = RubricDict({"pong": Pong(), "chess": Chess()})
        ...
        ...     def forward(self, action, observation):
        ...         return self.games[observation.game](action, observation)
    """

    def __init__(self, rubrics: Mapping[str, Rubric] | None = None) -> None:
        super().__init__()
        self.update(rubrics or {})

    def forward(self, action: Any, observation: Any) -> float:
        """Raise an error: the parent chooses.

        Raises:
            NotImplementedError: Always.
        """
        raise _no_score(self)

    def update(self, rubrics: Mapping[str, Rubric]) -> None:
        """Add rubrics, or replace those of the same keys."""
        for key, rubric in rubrics.items():
            self[key] = rubric

    def keys(self) -> KeysView[str]:
        """Return the keys."""
        return self._rubric_children.keys()

    def values(self) -> ValuesView[Rubric]:
        """Return the rubrics."""
        return self._rubric_children.values()

    def items(self) -> ItemsView[str, Rubric]:
        """Return the keys and their rubrics."""
        return self._rubric_children.items()

    def __setitem__(self, key: str, rubric: Rubric) -> None:
        self._rubric_children[key] = rubric
        if not hasattr(type(self), key):  # a key such as "forward" hides no method
            object.__setattr__(self, key, rubric)

    def __getitem__(self, key: str) -> Rubric:
        return self._rubric_children[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rubric_children

    def __len__(self) -> int:
        return len(self._rubric_children)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rubric_children)


def _no_score(rubric: Rubric) -> NotImplementedError:
    kind = type(rubric).__name__
    return NotImplementedError(f"{kind} has no score; call one of its rubrics in the forward of its parent")
