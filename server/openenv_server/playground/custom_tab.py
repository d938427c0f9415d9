"""A tab of the environment's own, in the shape of the published package: ``create_app(gradio_builder=…)``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    import gradio as gr

    from openenv_server.playground.server_facts import ServerFacts
    from openenv_server.playground.visits import Visits

log = logging.getLogger("openenv_server")


@dataclass(frozen=True)
class CustomTab:
    """The arguments of `create_app` about it.

    Attributes:
        builder: ``gradio_builder``: called with a `WebManager`, the action's fields, the environment's
            metadata, whether its actions are tokens, the title, and a Markdown text; returns ``gr.Blocks``.
        name: ``custom_tab_name``.
        is_primary: ``custom_tab_primary``: whether it is the first tab.
        show_default_tab: Whether the page has other tabs.
        title: ``title_override``.
    """

    builder: Callable[..., Any]
    name: str = "Custom"
    is_primary: bool = False
    show_default_tab: bool = True
    title: str | None = None

    def build(self, facts: ServerFacts, visits: Visits) -> gr.Blocks:
        """Build it.

        Raises:
            ConfigurationError: The builder raises, or returns something else than ``gr.Blocks``.
        """
        import gradio as gr

        from openenv_gym.types import EnvironmentMetadata
        from openenv_server.playground.web_manager import WebManager, action_fields

        metadata = EnvironmentMetadata(
            name=facts.name, description=facts.description, readme_content=facts.readme or None
        )
        fields = action_fields(facts.schemas.get("action", {}))
        title = self.title or facts.name
        quick_start = f'```python\nenv = gym.make("openenv/{facts.name}")\n```'
        has_tokens = any(field["name"] == "tokens" for field in fields)
        try:
            blocks = self.builder(
                WebManager(visits, metadata), fields, metadata, has_tokens, title, quick_start
            )
        except Exception as error:
            log.exception("gradio_builder failed")
            raise ConfigurationError(f"gradio_builder raised {type(error).__name__}: {error}") from error
        if not isinstance(blocks, gr.Blocks):
            raise ConfigurationError(f"gradio_builder must return gr.Blocks, got {type(blocks).__name__}.")
        return blocks
