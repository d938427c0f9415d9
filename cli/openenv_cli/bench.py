"""``openenv bench``: the latency of a step and the throughput, by number of sessions."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openenv_cli.output import note
from openenv_cli.plots import check_plot, save_benchmark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WARM_UP_STEPS = 10
_MIN_STEPS = 3
COLUMNS = ("sessions", "p50 ms", "p99 ms", "steps/s", "env µs", "server µs", "network µs", "client µs")
_SESSIONS = "1,8,64,256"


@dataclass(frozen=True)
class Measured:
    """The measurement for one number of sessions.

    Attributes:
        sessions: The number of sessions, which step together.
        p50_ms: The median time of a vector step, in milliseconds.
        p99_ms: The 99th percentile, in milliseconds.
        steps_per_second: The total over all sessions.
        parts_us: The mean time of each part of one session's step, in microseconds.
    """

    sessions: int
    p50_ms: float
    p99_ms: float
    steps_per_second: float
    parts_us: dict[str, float]


def bench(
    target: Annotated[
        str | None, typer.Argument(metavar="NAME_URL_OR_FOLDER", help="Default: the current folder.")
    ] = None,
    gym: Annotated[str | None, typer.Option(help="Serve and measure this Gymnasium environment.")] = None,
    sessions: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…",
            help=f"Numbers of sessions to measure. Default: {_SESSIONS}, up to the server's capacity.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds to measure each number.")] = 3.0,
    workers: Annotated[int, typer.Option(min=1, help="With --gym: the server's processes.")] = 1,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Save a plot.")] = None,
) -> None:
    """Measure a server's latency and throughput, from one session to many.

    All sessions step together with random actions. The parts of a step are those of `env.unwrapped.metrics`.

    Examples:
        openenv bench --gym CartPole-v1

        openenv bench http://localhost:8000 --sessions 1,4,16

        openenv bench --gym CartPole-v1 --workers 2 --plot bench.png
    """
    from openenv_cli.output import status
    from openenv_cli.targets import launched
    from openenv_gym.errors import CapacityError, ConfigurationError
    from openenv_gym.providers.process import ProcessProvider

    if target is not None and gym is not None:
        raise ConfigurationError(
            "Pass either a server (a URL, a folder or a name) or --gym.",
            advice="For example: openenv bench http://localhost:8000, or openenv bench --gym CartPole-v1",
        )
    if target is None and gym is None:
        target = "."
    counts = _numbers(sessions or _SESSIONS)
    if plot is not None:
        check_plot(plot, "bench")
    measured: list[Measured] = []
    refusal: CapacityError | None = None
    with ExitStack() as stack:
        update = stack.enter_context(status("Starting a server…"))
        if gym is not None:
            server = ProcessProvider(gym=gym, max_sessions=max(counts), workers=workers)
            server.shows_progress = False  # this command shows its own
            url, headers = stack.enter_context(server).base_url, server.headers
        else:
            assert target is not None
            launch = stack.enter_context(launched(target))
            url, headers = launch.base_url, launch.headers
        for count in counts:
            update(f"{count} session{'s' if count > 1 else ''} for {seconds:g} s…")
            try:
                measured.append(measure(url, count, seconds, headers))
            except CapacityError as error:
                refusal = error
                break
    if measured:
        _print(measured, gym or target or url)
    if plot is not None and measured:
        save_benchmark(measured, gym or target or url, plot)
        note(f"The plot is in {plot}")
    if refusal is not None and (sessions or not measured):
        raise refusal
    if refusal is not None:
        note(f"Stopped at the server's capacity: {refusal}")


def measure(base_url: str, sessions: int, seconds: float, headers: Mapping[str, str]) -> Measured:
    """Step a number of sessions together and measure the steps.

    Args:
        base_url: The server's address.
        sessions: The number of sessions.
        seconds: The minimum duration.
        headers: Headers for each request to the server.

    Raises:
        CapacityError: The server has too few free sessions.
    """
    import numpy as np

    from openenv_gym import RemoteVectorEnv

    envs = RemoteVectorEnv(base_url, sessions, copy=False, headers=headers)
    try:
        envs.reset(seed=0)
        envs.action_space.seed(0)
        for _ in range(_WARM_UP_STEPS):
            envs.step(envs.action_space.sample())
        envs.reset_metrics()
        took: list[float] = []
        while sum(took) < seconds or len(took) < _MIN_STEPS:
            actions = envs.action_space.sample()
            begin = time.perf_counter()
            envs.step(actions)
            took.append(time.perf_counter() - begin)
        metrics = envs.metrics
    finally:
        envs.close()
    return Measured(
        sessions,
        float(np.percentile(took, 50)) * 1e3,
        float(np.percentile(took, 99)) * 1e3,
        sessions * len(took) / sum(took),
        {part: float(np.mean(us)) for part, us in metrics.items() if part != "steps"},
    )


def _numbers(text: str) -> list[int]:
    from openenv_gym.errors import ConfigurationError

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ConfigurationError(
            f"--sessions {text} is not a list of positive numbers.", advice="For example: --sessions 1,8,64"
        )
    return sorted(set(numbers))


def _print(measured: Sequence[Measured], name: str) -> None:
    """Print a table; in a pipe tab-separated lines, the first with the column names."""
    if not sys.stdout.isatty():
        print(*COLUMNS, sep="\t")
        for row in measured:
            print(*_cells(row), sep="\t")
        return
    from rich.table import Table
    from rich.text import Text

    from openenv_cli.console import Console

    table = Table(title=Text(f"{name}: steps of all sessions together"), box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in measured:
        table.add_row(*_cells(row))
    Console(highlight=False).print(table)


def _cells(row: Measured) -> tuple[str, ...]:
    return (
        str(row.sessions),
        f"{row.p50_ms:.3f}",
        f"{row.p99_ms:.3f}",
        f"{row.steps_per_second:.0f}",
        *(f"{us:.0f}" for us in row.parts_us.values()),
    )
