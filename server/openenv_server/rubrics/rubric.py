"""The base class of rubrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from typing import Any, Self

from openenv_server.rubrics.evaluation import Score, Steps, drive, in_event_loop, is_pending

# The scores of the step that is evaluated, by the id of the rubric.
_scores: ContextVar[dict[int, float] | None] = ContextVar("_scores", default=None)


class Rubric(ABC):
    """Scores a step, from its action and its observation.

    A subclass implements `forward`, as ``def`` or ``async def``. A rubric that is assigned to an attribute
    becomes a child of this one, under the attribute's name.

    Attributes:
        last_score: The score of the last evaluation; None before the first one.

    Example:
        >>> class Reached(Rubric):
        ...     def forward(self, action, observation):
        ...         return float(observation.position == 3)
    """

    last_score: float | None
    _rubric_children: dict[str, Rubric]
    _forward_hooks: list[Callable[[Rubric, Any, Any, float], Any]]
    _forward_pre_hooks: list[Callable[[Rubric, Any, Any], Any]]

    # Not in __init__: a subclass may assign attributes before it calls ours.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        rubric = super().__new__(cls)
        object.__setattr__(rubric, "_rubric_children", {})
        rubric._forward_hooks = []
        rubric._forward_pre_hooks = []
        rubric.last_score = None
        return rubric

    @abstractmethod
    def forward(self, action: Any, observation: Any) -> float | Awaitable[float]:
        """Return the score, usually from 0 to 1.

        Args:
            action: The action that was taken.
            observation: The observation that followed.
        """

    def __call__(self, action: Any, observation: Any) -> Any:
        """Score a step, between the hooks.

        The scores of the parts go into the observation's metadata, as `score_step` says.

        Returns:
            The score; an awaitable of it if `forward`, a hook or a child is async. On an event loop, the
            score may be awaited in either case.
        """
        if _scores.get() is None:  # it is no part of another rubric
            return score_step(self, action, observation)
        score = drive(self._evaluate(action, observation))
        if isinstance(score, int | float) and in_event_loop():
            return Score(score)
        return score

    def _evaluate(self, action: Any, observation: Any) -> Steps:
        for pre_hook in self._forward_pre_hooks:
            yield pre_hook(self, action, observation)
        score = yield self.forward(action, observation)
        self.last_score = score
        if (scores := _scores.get()) is not None:
            scores[id(self)] = score
        for hook in self._forward_hooks:
            yield hook(self, action, observation, score)
        return score

    def register_forward_hook(self, hook: Callable[[Rubric, Any, Any, float], Any]) -> None:
        """Call ``hook(rubric, action, observation, score)`` after each `forward`; it may be async."""
        self._forward_hooks.append(hook)

    def register_forward_pre_hook(self, hook: Callable[[Rubric, Any, Any], Any]) -> None:
        """Call ``hook(rubric, action, observation)`` before each `forward`; it may be async."""
        self._forward_pre_hooks.append(hook)

    def children(self) -> Iterator[Rubric]:
        """Iterate over the children."""
        yield from self._rubric_children.values()

    def named_children(self) -> Iterator[tuple[str, Rubric]]:
        """Iterate over the children and their names."""
        yield from self._rubric_children.items()

    def rubrics(self) -> Iterator[Rubric]:
        """Iterate over all descendants, each before its own children."""
        for _, rubric in self.named_rubrics():
            yield rubric

    def named_rubrics(self, prefix: str = "") -> Iterator[tuple[str, Rubric]]:
        """Iterate over all descendants and their paths, such as ``"code.syntax"``.

        Args:
            prefix: The path of this rubric.
        """
        for name, child in self._rubric_children.items():
            path = f"{prefix}.{name}" if prefix else name
            yield path, child
            yield from child.named_rubrics(path)

    def get_rubric(self, path: str) -> Rubric:
        """Return a descendant by its path.

        Raises:
            KeyError: No descendant has this path.
        """
        found = self
        for name in path.split("."):
            if name not in found._rubric_children:
                raise KeyError(f"Unknown rubric {path!r}; the rubrics are {[*dict(self.named_rubrics())]}")
            found = found._rubric_children[name]
        return found

    def reset(self) -> None:
        """Start an episode: forget what was kept of the last one, in the children too."""
        for child in self.children():
            child.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the settings to save in a checkpoint: the children's, by name."""
        states = {name: child.state_dict() for name, child in self.named_children()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the settings that `state_dict` returned; names that are missing are left as they are."""
        for name, child in self.named_children():
            if name in state:
                child.load_state_dict(state[name])

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Rubric):
            self._rubric_children[name] = value
        else:
            self._rubric_children.pop(name, None)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._rubric_children.pop(name, None)
        object.__delattr__(self, name)


def score_step(rubric: Rubric, action: Any, observation: Any) -> Any:
    """Score a step, and add the scores of the rubric's parts to the observation's metadata.

    They are in ``metadata["rubric_scores"]``, by path. Parts that are not evaluated, such as those after the
    first zero of a `Sequential`, are left out.

    Returns:
        The score, or a coroutine of it, if something in the rubric is async.
    """
    scores: dict[int, float] = {}
    context = copy_context()
    context.run(_scores.set, scores)
    score = context.run(rubric, action, observation)
    if is_pending(score):
        return _score_later(rubric, observation, scores, score)
    _show(rubric, observation, scores)
    return score


async def _score_later(
    rubric: Rubric, observation: Any, scores: dict[int, float], pending: Awaitable[float]
) -> float:
    token = _scores.set(scores)
    try:
        score = await pending
    finally:
        _scores.reset(token)
    _show(rubric, observation, scores)
    return score


def _show(rubric: Rubric, observation: Any, scores: dict[int, float]) -> None:
    metadata = getattr(observation, "metadata", None)
    if isinstance(rubric, Rubric) and isinstance(metadata, dict):
        parts = {path: scores[id(part)] for path, part in rubric.named_rubrics() if id(part) in scores}
        if parts:
            metadata["rubric_scores"] = parts
