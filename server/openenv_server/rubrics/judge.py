"""A rubric that asks a language model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from openenv_server.rubrics.rubric import Rubric


class Completes(Protocol):
    """Anything that completes prompts, such as `openenv_gym.llm_client.OpenAIClient`."""

    async def complete(self, prompt: str) -> str:
        """Return the answer to a prompt."""


class LLMJudge(Rubric):
    """Reads the score in a language model's answer.

    Args:
        prompt_template: The prompt, with ``{action}`` and ``{observation}`` where they go.
        client: The client of the model.
        score_pattern: A regular expression for the score: its first group, or all of it. By default, the
            first number of the answer.
        default_score: The score if the answer contains none.
        normalize: Whether to clip scores to 0 and 1.

    Example:
        >>> client = OpenAIClient("http://localhost", 8000, model="Qwen/Qwen3-8B")
        >>> judge = LLMJudge("Score this from 0 to 1: {action}", client)
        >>> score = await judge(action, observation)
    """

    def __init__(
        self,
        prompt_template: str,
        client: Completes,
        *,
        score_pattern: str | None = None,
        default_score: float = 0.0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.prompt_template: str = prompt_template
        self._client = client
        self._score_pattern = re.compile(score_pattern or r"(\d+\.?\d*)")
        self.default_score: float = default_score
        self.normalize: bool = normalize

    async def forward(self, action: Any, observation: Any) -> float:
        """Return the score in the model's answer."""
        return self._parse_score(await self._client.complete(self._render_prompt(action, observation)))

    def _render_prompt(self, action: Any, observation: Any) -> str:
        """Return the prompt; override it if a template is not enough."""
        return self.prompt_template.format(action=action, observation=observation)

    def _parse_score(self, response: str) -> float:
        """Return the score in an answer; override it if a pattern is not enough."""
        found = self._score_pattern.search(response)
        try:
            score = float(found[1 if found.lastindex else 0]) if found else self.default_score
        except (TypeError, ValueError):  # the group is empty, or no number
            return self.default_score
        return min(max(score, 0.0), 1.0) if found and self.normalize else score

    def state_dict(self) -> dict[str, Any]:
        """Return the settings; the client is not one of them."""
        return {
            **super().state_dict(),
            "prompt_template": self.prompt_template,
            "score_pattern": self._score_pattern.pattern,
            "default_score": self.default_score,
            "normalize": self.normalize,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the settings."""
        super().load_state_dict(state)
        self.prompt_template = state.get("prompt_template", self.prompt_template)
        self._score_pattern = re.compile(state.get("score_pattern", self._score_pattern.pattern))
        self.default_score = state.get("default_score", self.default_score)
        self.normalize = state.get("normalize", self.normalize)
