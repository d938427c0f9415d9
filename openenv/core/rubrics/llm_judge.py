"""A rubric that asks a language model."""

from openenv_server.rubrics import LLMJudge

__all__ = ["LLMJudge"]
