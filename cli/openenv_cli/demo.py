"""``openenv demo``: serve an environment and train on it, on this machine, in half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openenv_cli.plots import check_plot, save_learning_curve

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from openenv_cli.console import Console
    from openenv_cli.q_learning import LearningCurve

GYM_ID = "FrozenLake-v1"
EQUAL_STEPS = 1_000
CUT_EVERY = 100
SPEED_SESSIONS = (1, 8, 64)
SPEED_ROUNDS = 5
SPEED_SECONDS = 0.1
SESSIONS = 8
TRAINING_STEPS = 6_000
MIN_SUCCESS_AFTER = 0.5
_HEADING_COLUMNS = 15
_MAX_COLUMNS = 80


def demo(
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Save the learning curve.")] = None,
) -> None:
    """Show equality, resuming, speed and training in half a minute.

    A server steps FrozenLake-v1 beside the local environment, also while the connection is cut, and an agent
    trains on it. The exit code is 0 only if all steps are equal and the agent has learned.

    Examples:
        openenv demo

        openenv demo --plot curve.png
    """
    from openenv_cli.console import Console
    from openenv_cli.cut_proxy import CutProxy
    from openenv_cli.output import status
    from openenv_gym.errors import OpenEnvError
    from openenv_gym.providers.process import ProcessProvider

    console = Console()
    if plot is not None:
        check_plot(plot, "demo")
    begin = time.perf_counter()
    with ProcessProvider(gym=GYM_ID) as server:
        url = server.base_url
        _show(console, "1. A server", f"{GYM_ID} at {url}, process {server.pid}")
        with status("Stepping beside the local environment…"):
            took_ms = _compare(url)
        _show(
            console,
            "2. Equality",
            f"{EQUAL_STEPS:,} steps equal the local environment, bit for bit",
            f"{_percentile(took_ms, 50):.2f} ms a step (median), {_percentile(took_ms, 99):.2f} ms (99 %)",
        )
        with status("Cutting the connection…"), CutProxy(url) as proxy:
            cuts = 0

            def cut(step: int) -> None:
                nonlocal cuts
                if step % CUT_EVERY == CUT_EVERY // 2:
                    cuts += proxy.cut()

            took_ms = _compare(proxy.base_url, cut)
        _show(
            console,
            "3. Cuts",
            f"the connection was cut {cuts} times in {EQUAL_STEPS:,} steps, and resumed",
            f"no step lost, none done twice: all equal; at most {max(took_ms):.0f} ms for a step",
        )
        with status("Measuring the speed…"):
            speeds = [_speeds(url, sessions) for sessions in SPEED_SESSIONS]
        _show(console, "4. Speed", *_speed_lines(speeds))
        curve = _train(console, url)
    _show(
        console,
        "5. Training",
        f"tabular Q-learning on {SESSIONS} remote sessions",
        *_curve_lines(curve),
        f"success {curve.before:.0%} before, {curve.after:.0%} after; "
        f"{curve.steps_per_second:,.0f} steps/s in {SESSIONS} sessions",
    )
    if plot is not None:
        save_learning_curve(curve, f"Q-learning on {SESSIONS} remote sessions of {GYM_ID}", plot)
        console.print(f"The curve is in {plot}")
    console.print(f"{time.perf_counter() - begin:.1f} s in total", style="dim")
    console.print("Next: openenv serve --gym CartPole-v1, or openenv init my_env", style="dim")
    if curve.after < MIN_SUCCESS_AFTER or curve.after <= curve.before:
        raise OpenEnvError(
            f"The agent did not learn: {curve.after:.0%} success, expected at least {MIN_SUCCESS_AFTER:.0%}."
        )


def _show(console: Console, heading: str, *lines: str) -> None:
    """Print a result: a panel, or in a pipe the heading and the lines beside it."""
    from rich.panel import Panel
    from rich.text import Text

    if console.is_terminal:
        text = Text("\n".join(lines))
        text.highlight_regex(r"█+", "cyan")
        text.highlight_regex(r"bit for bit|no step lost|\d+% after", "bold green")
        title = Text(heading, "bold")
        width = min(console.width, _MAX_COLUMNS)
        console.print(Panel(text, title=title, title_align="left", border_style="dim", width=width))
        return
    for place, line in enumerate(lines):
        print(f"{'' if place else heading:<{_HEADING_COLUMNS}}{line}", flush=True)


def _compare(base_url: str, after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Step the remote and the local environment side by side; return each remote step's milliseconds.

    Args:
        base_url: The server's address.
        after_step: Called with the number of each step.

    Raises:
        OpenEnvError: They differ.
    """
    import gymnasium as gym

    import openenv_gym

    took_ms = []
    remote = gym.make("openenv/remote", base_url=base_url)
    local = gym.make(GYM_ID)
    try:
        if (remote.action_space, remote.observation_space) != (local.action_space, local.observation_space):
            raise openenv_gym.OpenEnvError("The spaces differ from the local environment's.")
        local.action_space.seed(0)
        seed, ended = 0, True
        for step in range(EQUAL_STEPS):
            if ended:
                here, there = local.reset(seed=seed)[0], remote.reset(seed=seed)[0]
                seed += 1
                _check_equal(step, here, there)
            action = local.action_space.sample()
            begin = time.perf_counter()
            result = remote.step(action)
            took_ms.append((time.perf_counter() - begin) * 1000)
            expected = local.step(action)
            _check_equal(step, expected[:4], result[:4])
            ended = bool(expected[2] or expected[3])
            after_step(step)
    finally:
        remote.close()
        local.close()
    return took_ms


def _check_equal(step: int, local: Any, remote: Any) -> None:
    if local != remote:
        from openenv_gym.errors import OpenEnvError

        raise OpenEnvError(
            f"Step {step} differs: {remote} from the server, {local} from the local environment."
        )


def _speeds(base_url: str, sessions: int) -> tuple[float, float]:
    """Steps per second of remote and of local sub-environments, in the best of rounds that take turns."""
    import gymnasium as gym

    remote = gym.make_vec("openenv/remote", sessions, base_url=base_url)
    local = gym.make_vec(GYM_ID, sessions, vectorization_mode="sync")
    try:
        rounds = [(_steps_per_second(remote), _steps_per_second(local)) for _ in range(SPEED_ROUNDS)]
    finally:
        remote.close()
        local.close()
    best_remote, best_local = map(max, zip(*rounds, strict=True))
    return best_remote, best_local


def _steps_per_second(envs: VectorEnv[Any, Any, Any]) -> float:
    envs.reset(seed=0)
    actions = envs.action_space.sample()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < SPEED_SECONDS:
        envs.step(actions)
        steps += envs.num_envs
    return steps / (time.perf_counter() - begin)


def _speed_lines(speeds: list[tuple[float, float]]) -> list[str]:
    """A table of steps per second, remote beside local, by number of sessions."""
    lines = [f"{'sessions':>8}  {'remote steps/s':>14}  {'local steps/s':>13}  {'ratio':>5}"]
    for sessions, (remote, local) in zip(SPEED_SESSIONS, speeds, strict=True):
        lines.append(f"{sessions:>8}  {remote:>14,.0f}  {local:>13,.0f}  {remote / local:>5.2f}")
    return lines


def _train(console: Console, base_url: str) -> LearningCurve:
    import gymnasium as gym
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from openenv_cli.q_learning import train

    envs = gym.make_vec("openenv/remote", SESSIONS, base_url=base_url)
    columns = (TextColumn("Training"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    try:
        with Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task("training", total=TRAINING_STEPS)
            return train(envs, TRAINING_STEPS, lambda done: progress.update(task, completed=done))
    finally:
        envs.close()


def _curve_lines(curve: LearningCurve) -> list[str]:
    """The learning curve, one line per point."""
    return [
        f"{steps:>7,} steps  {success:>4.0%}  {'█' * round(success * 40)}" for steps, success in curve.points
    ]


def _percentile(values: list[float], percent: float) -> float:
    import numpy as np

    return float(np.percentile(values, percent))
