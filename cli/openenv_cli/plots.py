"""The plots of ``openenv bench`` and ``openenv demo``. Needs matplotlib, from the extra ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openenv_cli.bench import Measured
    from openenv_cli.q_learning import LearningCurve


def check_plot(path: Path, command: str) -> None:
    """Check before the work that its plot can be saved.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigurationError: The file is not a PNG, or its folder does not exist.
    """
    from importlib.util import find_spec

    from openenv_gym.errors import ConfigurationError, MissingExtraError

    if find_spec("matplotlib") is None:
        raise MissingExtraError(f"openenv {command} --plot", "plot")
    if path.suffix.lower() != ".png":
        raise ConfigurationError(f"--plot {path}: the file name must end in .png.")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"--plot {path}: the folder {path.absolute().parent} does not exist.")


def save_learning_curve(curve: LearningCurve, title: str, path: Path) -> None:
    """Plot the success rate over the environment steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([steps for steps, _ in curve.points], [success for _, success in curve.points], marker="o")
    axes.set(
        title=title,
        xlabel="environment steps",
        ylabel="success rate of finished episodes",
        ylim=(0, 1),
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def save_benchmark(measured: Sequence[Measured], name: str, path: Path) -> None:
    """Plot latency and throughput over the number of sessions."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(9, 4), layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    sessions = [row.sessions for row in measured]
    latency.plot(sessions, [row.p50_ms for row in measured], marker="o", label="p50")
    latency.plot(sessions, [row.p99_ms for row in measured], marker="o", label="p99")
    latency.set(title=f"{name}: one step of all sessions", ylabel="milliseconds", yscale="log")
    latency.legend()
    throughput.plot(sessions, [row.steps_per_second for row in measured], marker="o")
    throughput.set(title="throughput", ylabel="session steps per second", ylim=(0, None))
    for axes in (latency, throughput):
        axes.set(xlabel="sessions", xscale="log")
        # Label the measured numbers: powers of ten would match none of them.
        axes.set_xticks(sessions, [str(count) for count in sessions])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    # The values often span one decade only.
    latency.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    latency.yaxis.set_major_formatter(FuncFormatter(_plain))
    latency.yaxis.set_minor_formatter(FuncFormatter(lambda ms, _: ""))
    throughput.yaxis.set_major_formatter(FuncFormatter(_plain))
    figure.savefig(path, dpi=150)


def _plain(number: float, _position: object) -> str:
    return f"{number:,.6g}"
