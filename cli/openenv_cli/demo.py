"""``openenv demo``: serve an environment and train on it, on this machine, in half a minute."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openenv_cli.plots import check_plot, save_learning_curve

if TYPE_CHECKING:
    from openenv_cli.console import Console
    from openenv_cli.q_learning import LearningCurve

GYM_ID = "FrozenLake-v1"
EQUAL_STEPS = 1_000
SESSIONS = 8
TRAINING_STEPS = 6_000
MIN_SUCCESS_AFTER = 0.5


def demo(
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Save the learning curve.")] = None,
) -> None:
    """Serve an environment, compare it with the local one, and train on it.

    The exit code is 0 only if remote and local steps are equal and the agent has learned.

    Examples:
        openenv demo

        openenv demo --plot curve.png
    """
    from openenv_cli.console import Console
    from openenv_gym.errors import OpenEnvError
    from openenv_gym.providers.process import ProcessProvider

    console = Console(highlight=False)
    if plot is not None:
        check_plot(plot, "demo")
    begin = time.perf_counter()
    with ProcessProvider(gym=GYM_ID) as server:
        console.print(
            f"[bold]1. A server[/bold]    {GYM_ID} at {server.base_url}, process {server.pid}", markup=True
        )
        latencies_ms = _compare(server.base_url)
        console.print(
            f"[bold]2. Equality[/bold]    {EQUAL_STEPS:,} steps equal the local environment, bit for bit\n"
            f"               {_percentile(latencies_ms, 50):.2f} ms a step (median), "
            f"{_percentile(latencies_ms, 99):.2f} ms (99 %)",
            markup=True,
        )
        curve = _train(console, server.base_url)
    console.print(
        f"[bold]3. Training[/bold]    tabular Q-learning on {SESSIONS} remote sessions", markup=True
    )
    _print_curve(console, curve)
    console.print(
        f"               success {curve.before:.0%} before, [bold]{curve.after:.0%} after[/bold]; "
        f"{curve.steps_per_second:,.0f} steps/s in {SESSIONS} sessions",
        markup=True,
    )
    if plot is not None:
        save_learning_curve(curve, f"Q-learning on {SESSIONS} remote sessions of {GYM_ID}", plot)
        console.print(f"               the curve is in {plot}")
    console.print(f"[dim]{time.perf_counter() - begin:.1f} s in total[/dim]", markup=True)
    if curve.after < MIN_SUCCESS_AFTER or curve.after <= curve.before:
        raise OpenEnvError(
            f"The agent did not learn: {curve.after:.0%} success, expected at least {MIN_SUCCESS_AFTER:.0%}."
        )


def _compare(base_url: str) -> list[float]:
    """Step the remote and the local environment side by side; return each remote step's milliseconds.

    Raises:
        OpenEnvError: They differ.
    """
    import gymnasium as gym

    import openenv_gym

    latencies_ms = []
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
            latencies_ms.append((time.perf_counter() - begin) * 1000)
            expected = local.step(action)
            _check_equal(step, expected[:4], result[:4])
            ended = bool(expected[2] or expected[3])
    finally:
        remote.close()
        local.close()
    return latencies_ms


def _check_equal(step: int, local: Any, remote: Any) -> None:
    if local != remote:
        from openenv_gym.errors import OpenEnvError

        raise OpenEnvError(
            f"Step {step} differs: {remote} from the server, {local} from the local environment."
        )


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


def _print_curve(console: Console, curve: LearningCurve) -> None:
    """Print the learning curve, one line per point."""
    for steps, success in curve.points:
        console.print(f"               {steps:>7,} steps  {success:>4.0%}  {'█' * round(success * 40)}")


def _percentile(values: list[float], percent: float) -> float:
    import numpy as np

    return float(np.percentile(values, percent))
