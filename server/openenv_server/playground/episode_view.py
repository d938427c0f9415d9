"""An episode as HTML: where it stands, its steps, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import islice
from typing import Any

from openenv_gym.errors import (
    ActionRefusedError,
    CapacityError,
    ClosedError,
    ConfigurationError,
    EndpointError,
    OpenEnvError,
    ResetNeededError,
    UnauthorizedError,
)
from openenv_server.playground.episode import MOST_STEPS, Episode, Transition
from openenv_server.playground.figures import figure
from openenv_server.playground.observation_view import compact, tree, view
from openenv_server.playground.reward_plot import reward_plot

# The rows of the table of steps, the latest ones.
_MOST_ROWS = 50


def status(episode: Episode | None) -> str:
    """Show where an episode stands; None is none yet."""
    last = episode.history[-1] if episode is not None and episode.history else None
    if last is None:
        name, text = "idle", "Not started"
    elif last.terminated:
        name, text = "terminated", "Terminated"
    elif last.truncated:
        name, text = "truncated", "Truncated"
    else:
        name, text = "running", "Running"
    note = {
        "idle": "Reset begins an episode.",
        "terminated": "The episode is over: the environment ended it. Reset begins another one.",
        "truncated": "The episode was cut off, by a time limit for example. Reset begins another one.",
    }.get(name, "")
    figures = {
        "steps": str(0 if episode is None else episode.steps),
        "reward": "-" if last is None or last.reward is None else figure(last.reward),
        "total": figure(0 if episode is None else episode.total_reward),
    }
    shown = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in figures.items())
    return (
        f'<div class="pg-status" role="status"><span class="pg-pill pg-{name}">{text}</span>'
        f"<dl>{shown}</dl></div>{f'<p class=pg-note>{note}</p>' if note else ''}"
    )


def stage(transition: Transition | None) -> str:
    """Show the observation of one step, with what led to it."""
    if transition is None:
        return (
            '<div class="pg-empty"><p>Nothing to see yet.</p>'
            "<p>Reset begins an episode, in a new session.</p></div>"
        )
    action = "reset" if transition.action is None else compact(transition.action)
    reward = "" if transition.reward is None else f" · reward {figure(transition.reward)}"
    heading = f'<p class="pg-step"><b>Step {transition.step}</b> · <code>{escape(action)}</code>{reward}</p>'
    info = (
        f'<section class="pg-panel pg-tree">{tree(transition.info, "info", is_open=False)}</section>'
        if transition.info
        else ""
    )
    return f'{heading}<div class="pg-view">{view(transition.observation, transition.render)}</div>{info}'


def plot(episode: Episode) -> str:
    """Plot the rewards of an episode."""
    steps = [transition for transition in episode.history if transition.step]
    return reward_plot([step.reward or 0.0 for step in steps], steps[0].step if steps else 1)


def table(history: Iterable[Transition]) -> str:
    """Show the latest steps as a table, the last one first."""
    history = list(history)
    rows = "".join(
        f"<tr><td>{item.step}</td><td><code>{escape(_action(item))}</code></td>"
        f"<td>{'' if item.reward is None else figure(item.reward)}</td><td>{_end(item)}</td></tr>"
        for item in islice(reversed(history), _MOST_ROWS)
    )
    note = f"The latest {MOST_STEPS:,} steps are kept." if len(history) == MOST_STEPS else ""
    return (
        '<div class="pg-scroll" tabindex="0"><table class="pg-steps"><caption>The latest steps</caption>'
        '<thead><tr><th scope="col">step</th><th scope="col">action</th><th scope="col">reward</th>'
        f'<th scope="col">end</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="pg-note">{note}</p>'
    )


def problem(error: OpenEnvError) -> str:
    """Say what went wrong, and what to do next."""
    link = ""
    match error:
        case ClosedError():
            title = "This page has lost its connection"
            text = "Its episode is gone: the server was restarted, or the network was away."
            link = '<a href="">Reload the page</a>'
        case CapacityError():
            title = "The server is full"
            text = (
                "All of its sessions are in use, by other visitors or by training. Try again in a moment: "
                "Reset takes the first one that is free."
            )
        case UnauthorizedError():
            title, text = "The server refuses the key", "Reload this page to enter another one."
        case ActionRefusedError():
            title, text = "The server refuses this", error.server_message
        case ConfigurationError():
            title, text = "This cannot be sent", str(error)
        case ResetNeededError():
            title, text = error.message, "Reset begins another one."
        case EndpointError():
            title, text = "The session is lost", f"{error} Reset opens a new one."
        case _:
            title, text = "The environment failed", str(error)
    shown = f'<b>{title}</b><pre tabindex="0">{escape(text)}</pre>{link}'
    return f'<div class="pg-problem" role="alert">{shown}</div>'


def details_of(error: OpenEnvError) -> list[dict[str, Any]]:
    """Return the validation errors of a refused action, each with ``loc`` and ``msg``."""
    errors = error.details.get("errors") if isinstance(error, ActionRefusedError) else None
    return [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []


def _action(transition: Transition) -> str:
    return "reset" if transition.action is None else compact(transition.action)


def _end(transition: Transition) -> str:
    return "terminated" if transition.terminated else "truncated" if transition.truncated else ""
