"""The page: its layout, and what its buttons do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from html import escape
from typing import Any

import gradio as gr

from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_server.playground import episode_view
from openenv_server.playground.custom_tab import CustomTab
from openenv_server.playground.episode import Episode
from openenv_server.playground.fields import EXACT
from openenv_server.playground.form import ActionForm
from openenv_server.playground.observation_view import tree
from openenv_server.playground.reward_plot import reward_plot
from openenv_server.playground.server_facts import ServerFacts, read_health
from openenv_server.playground.snippets import KINDS, code
from openenv_server.playground.visits import Visits

# Steps a second.
_SLOWEST, _FASTEST, _USUAL = 0.5, 20, 4
# How many components `_screen` has values for.
_MOVING_PARTS = 6
_THIS_URL = r"() => location.origin + location.pathname.replace(/\/web\/?$/, '')"
# Saves a text that the server has sent as a file.
_SAVE = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/jsonl"}));
  link.download = "episode.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
}"""


class Page:
    """The page of one server.

    Args:
        facts: The server's facts.
        visits: The open tabs.
        base_url: The server's address, for the code; None if the page is below it.
        custom: A tab of the environment's own.
    """

    def __init__(
        self, facts: ServerFacts, visits: Visits, base_url: str | None = None, custom: CustomTab | None = None
    ) -> None:
        self._facts, self._visits, self._base_url, self._custom = facts, visits, base_url, custom

    def build(self) -> gr.Blocks:
        """Build the page.

        Raises:
            ConfigurationError: ``gradio_builder`` raises, or returns something else than ``gr.Blocks``.
        """
        custom, title = self._custom, self._facts.name
        if custom is not None:
            title = custom.title or title
            own = custom.build(self._facts, self._visits)
            if not custom.show_default_tab:
                own.title = title
                own.unload(self._leave)
                return own
        with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
            gr.HTML(_header(title, self._facts.description, self._base_url or ".."), padding=False)
            with gr.Tabs():
                if custom is not None and custom.is_primary:
                    _render_tab(custom.name, own)
                with gr.Tab("Play", id="play"):
                    chosen = self._build_play(page)
                if custom is not None and not custom.is_primary:
                    _render_tab(custom.name, own)
                with gr.Tab("Code", id="code") as tab:
                    self._build_code(page, tab, chosen)
                self._build_facts()
            page.unload(self._leave)
        return page

    def _build_play(self, page: gr.Blocks) -> list[Any]:
        """Build the tab in which one plays; return its action, seed and options."""
        with gr.Row(elem_classes="pg-play"):
            with gr.Column(scale=3, min_width=300):
                stage = gr.HTML(episode_view.stage(None), padding=False, elem_id="pg-stage")
                with gr.Column(elem_classes="pg-below"):
                    look = gr.Slider(
                        0,
                        1,
                        0,
                        step=1,
                        label="Look back at step",
                        visible=False,
                        elem_id="pg-look",
                        buttons=[],
                    )
                    plot = gr.HTML(reward_plot([]), padding=False)
                    with gr.Accordion("Steps", open=False, elem_id="pg-history"):
                        table = gr.HTML(padding=False)
                        save = gr.Button(
                            "Save as JSONL", size="sm", elem_id="pg-save", elem_classes="pg-small"
                        )
            with gr.Column(scale=2, min_width=300):
                status = gr.HTML(episode_view.status(None), padding=False, elem_id="pg-status")
                trouble = gr.HTML(padding=False, elem_id="pg-trouble")
                with gr.Row():
                    reset = gr.Button("Reset", elem_id="pg-reset", min_width=100)
                    autoplay = gr.Button("Autoplay", elem_id="pg-autoplay", min_width=100)
                    stop = gr.Button("Stop", variant="stop", visible=False, elem_id="pg-stop", min_width=100)
                form = ActionForm(self._facts.schemas["action"], self._facts.tools)
                form.build(page)
                with gr.Accordion("Seed, options and speed", open=False, elem_id="pg-settings"):
                    with gr.Row():
                        seed = gr.Number(
                            label="Seed", step=1, elem_id="pg-seed", min_width=120, placeholder="random"
                        )
                        speed = gr.Slider(
                            _SLOWEST,
                            _FASTEST,
                            _USUAL,
                            step=0.5,
                            label="Autoplay, steps a second",
                            elem_id="pg-speed",
                            min_width=180,
                            buttons=[],
                        )
                    options = gr.Code(
                        "{}",
                        language="json",
                        label="Further keywords of reset, as JSON",
                        lines=2,
                        elem_id="pg-options",
                    )
        screen = [stage, look, plot, status, table, trouble]
        assert len(screen) == _MOVING_PARTS
        errors = form.error_outputs

        async def on_reset(seed: float | None, options: str, request: gr.Request) -> list[Any]:
            episode = self._visits.episode(request)
            trouble = await _attempt(lambda: episode.reset(_reset_options(seed, options)))
            return [*_screen(episode, trouble), *form.show_errors([])]

        async def on_step(action: dict[str, Any], request: gr.Request) -> list[Any]:
            episode = self._visits.episode(request)
            trouble = await _attempt(lambda: episode.step(action))
            details = episode_view.details_of(trouble) if trouble is not None else []
            return [*_screen(episode, trouble), *form.show_errors(details)]

        async def on_autoplay(
            speed: float, seed: float | None, options: str, request: gr.Request
        ) -> AsyncIterator[list[Any]]:
            episode = self._visits.episode(request)
            episode.autoplays = True
            buttons = [gr.Button(visible=False), gr.Button(visible=True)]
            trouble = None
            try:
                if not episode.is_running:
                    trouble = await _attempt(lambda: episode.reset(_reset_options(seed, options)))
                    yield [*_screen(episode, trouble), *buttons]
                while trouble is None and episode.autoplays and episode.is_running and not episode.is_closed:
                    pause = asyncio.ensure_future(asyncio.sleep(1 / speed))
                    trouble = await _attempt(lambda: episode.step(self._facts.sample() or {}))
                    yield [*_screen(episode, trouble), *buttons]
                    await pause
            finally:
                episode.autoplays = False
            yield [*_screen(episode, trouble), gr.Button(visible=True), gr.Button(visible=False)]

        def on_stop(request: gr.Request) -> None:
            self._visits.episode(request).autoplays = False

        def on_look(step: float, request: gr.Request) -> str:
            history = self._visits.episode(request).history
            return episode_view.stage(next((item for item in history if item.step == step), None))

        def on_save(request: gr.Request) -> str:
            return self._visits.episode(request).as_jsonl()

        reset.click(on_reset, [seed, options], [*screen, *errors], show_progress="hidden")
        form.on_step(on_step, [form.action], [*screen, *errors])
        autoplay.click(on_autoplay, [speed, seed, options], [*screen, autoplay, stop], show_progress="hidden")
        stop.click(on_stop, queue=False, show_progress="hidden")
        look.input(on_look, look, stage, show_progress="hidden")
        text = gr.Textbox(visible=False)
        save.click(on_save, None, text, show_progress="hidden").then(None, text, None, js=_SAVE)
        return [form.action, seed, options]

    def _build_code(self, page: gr.Blocks, tab: gr.Tab, chosen: list[Any]) -> None:
        """Build the tab with code that does what was chosen in the form."""
        url = gr.Textbox(self._base_url or "", visible="hidden", label="Address")
        if self._base_url is None:
            page.load(None, None, url, js=_THIS_URL, show_progress="hidden")
        boxes = []
        with gr.Tabs():
            for kind in KINDS:
                with gr.Tab(kind):
                    boxes.append(gr.Code(language="python", label=kind, show_label=False, lines=12))

        def write(url: str, action: Any, seed: float | None, options: str, request: gr.Request) -> list[str]:
            try:
                keywords = _reset_options(None, options)
            except ConfigurationError:
                keywords = {}
            return [
                code(
                    kind,
                    url,
                    self._facts.schemas["action"],
                    action,
                    None if seed is None else int(seed),
                    options=keywords,
                    tools=self._facts.tools,
                    needs_key=bool(self._visits.endpoint(request).credentials.headers),
                )
                for kind in KINDS
            ]

        tab.select(write, [url, *chosen], boxes, show_progress="hidden")

    def _build_facts(self) -> None:
        facts = self._facts
        with gr.Tab("State", id="state") as tab:
            state = gr.HTML('<p class="pg-note">Reset begins an episode, which has a state.</p>')
            refresh = gr.Button("Refresh", size="sm", elem_classes="pg-small")
            gr.on([tab.select, refresh.click], self._state, None, state, show_progress="hidden")
        with gr.Tab("Spaces", id="spaces"):
            gr.HTML(
                f'<pre class="pg-text pg-ansi" tabindex="0" aria-label="Spaces">{escape(facts.spaces)}</pre>'
            )
        with gr.Tab("Schemas", id="schemas"), gr.Tabs():
            for name, schema in facts.schemas.items():
                with gr.Tab(name.replace("_", " ").capitalize()):
                    gr.Code(
                        json.dumps(schema, indent=2), language="json", label=f"{name} schema", max_lines=30
                    )
        if facts.readme:
            with gr.Tab("README", id="readme"):
                gr.Markdown(_without_front_matter(facts.readme), elem_classes="pg-readme")
        with gr.Tab("Health", id="health") as tab:
            health = gr.HTML()
            refresh = gr.Button("Refresh", size="sm", elem_classes="pg-small")
            gr.on([tab.select, refresh.click], self._health, None, health, show_progress="hidden")

    async def _leave(self, request: gr.Request) -> None:
        await self._visits.leave(request)

    async def _state(self, request: gr.Request) -> str:
        episode = self._visits.episode(request)
        if not episode.history:
            return '<p class="pg-note">Reset begins an episode, which has a state.</p>'
        return await _shown(episode.state)

    async def _health(self, request: gr.Request) -> str:
        return await _shown(lambda: read_health(self._visits.endpoint(request)))


def _render_tab(name: str, blocks: gr.Blocks) -> None:
    with gr.Tab(name):
        blocks.render()


def _header(name: str, description: str, base_url: str) -> str:
    return (
        f'<header class="pg-header"><h1>{escape(name)}</h1><p>{escape(description)}</p>'
        '<nav aria-label="More about this server">'
        f'<a href="{escape(base_url)}/docs">API</a></nav></header>'
    )


def _screen(episode: Episode, trouble: OpenEnvError | None) -> list[Any]:
    """The values of the page's moving parts.

    Nothing changes if another reset or step follows, which shows more: Gradio may deliver the responses of
    two handlers in any order, and the page would stay as it was before.
    """
    if episode.is_busy:
        return [gr.skip()] * _MOVING_PARTS
    history = episode.history
    first = history[0].step if history else 0
    return [
        episode_view.stage(history[-1] if history else None),
        gr.Slider(first, max(episode.steps, first + 1), episode.steps, visible=episode.steps > first),
        episode_view.plot(episode),
        episode_view.status(episode),
        episode_view.table(history),
        "" if trouble is None else episode_view.problem(trouble),
    ]


async def _attempt(call: Callable[[], Any]) -> OpenEnvError | None:
    """Await a call; return what went wrong."""
    try:
        await call()
    except OpenEnvError as error:
        return error
    return None


async def _shown(call: Callable[[], Any]) -> str:
    try:
        fields = await call()
    except OpenEnvError as error:
        return episode_view.problem(error)
    return f'<div class="pg-tree">{tree(fields)}</div>'


def _reset_options(seed: float | None, options: str) -> dict[str, Any]:
    try:
        given = json.loads(options or "{}")
    except ValueError as error:
        raise ConfigurationError(f"The reset options are not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise ConfigurationError('The reset options must be a JSON object, such as {"level": 3}.')
    if seed is None:
        return given
    if seed != int(seed) or abs(seed) > EXACT:
        raise ConfigurationError(
            f"The seed must be a whole number up to {EXACT}.", advice="Further keywords take a larger one."
        )
    return {**given, "seed": int(seed)}


def _without_front_matter(readme: str) -> str:
    """A README without the YAML that the Hub reads."""
    if readme.startswith("---\n") and (end := readme.find("\n---", 3)) != -1:
        return readme[end + 4 :].lstrip("\n")
    return readme
