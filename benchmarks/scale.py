"""Measure 1 to 16,384 environments, local and remote: python -m benchmarks.scale [--plot FILE]."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks.contenders import VectorSteps, local_vector, remote_vector, serving

GYM_ID = "CartPole-v1"
COUNTS = tuple(4**power for power in range(8))
# More sessions have a thread each while they begin, which takes minutes.
MOST_ONE_BY_ONE = 4096
ROUNDS = 15
# How long one turn takes, about, in seconds.
TURN_S = 0.06


def measure(count: int, one_by_one: str, in_one_call: str) -> dict[str, float]:
    """Return the steps per second of each contender, the median of rounds in turns.

    Args:
        count: The number of environments.
        one_by_one: The base URL of a server that steps environments one by one.
        in_one_call: That of one that steps them in one call.
    """
    makers: dict[str, Callable[[], AbstractContextManager[VectorSteps]]] = {
        "local SyncVectorEnv": partial(local_vector, GYM_ID, count, "sync"),
        "local vector entry point": partial(local_vector, GYM_ID, count, "vector_entry_point"),
        "remote, in one call": partial(remote_vector, in_one_call, count),
    }
    if count <= MOST_ONE_BY_ONE:
        makers["remote, one by one"] = partial(remote_vector, one_by_one, count, step_timeout_s=300)
    with ExitStack() as stack:
        contenders = {name: stack.enter_context(make()) for name, make in makers.items()}
        steps = {name: _steps_of_a_turn(contender) for name, contender in contenders.items()}
        per_s: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, contender in contenders.items():
                per_s[name].append(count * steps[name] / contender.run(steps[name]))
    return {name: statistics.median(each) for name, each in per_s.items()}


def _steps_of_a_turn(contender: VectorSteps) -> int:
    begin = time.perf_counter()
    contender.run(3)
    return max(1, round(3 * TURN_S / (time.perf_counter() - begin)))


def plot(figures: dict[int, dict[str, float]], file: Path) -> None:
    """Draw the steps per second over the number of environments."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in next(iter(figures.values())):
        axes.plot(
            list(figures), [per_s.get(name, math.nan) for per_s in figures.values()], marker="o", label=name
        )
    axes.set(
        xlabel="environments",
        ylabel="steps of environments per second",
        xscale="log",
        yscale="log",
        title=f"{GYM_ID} on one machine",
    )
    axes.set_xticks(list(figures), [f"{count:,}" for count in figures])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print a row of a Markdown table for each number of environments, and draw the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the plot there")
    arguments = parser.parse_args()
    figures: dict[int, dict[str, float]] = {}
    with (
        serving(GYM_ID, max_sessions=2 * COUNTS[-1]) as one_by_one,
        serving(GYM_ID, max_sessions=2 * COUNTS[-1], vectorized=True) as in_one_call,
    ):
        for count in COUNTS:
            figures[count] = per_s = measure(count, one_by_one, in_one_call)
            if count == COUNTS[0]:
                print("| environments |", " | ".join(per_s), "|")
                print("|---|" + "---|" * len(per_s))
            cells = [f"{per_s[name]:,.0f}" if name in per_s else "" for name in figures[COUNTS[0]]]
            print(f"| {count:,} |", " | ".join(cells), "|", flush=True)
    if arguments.plot is not None:
        plot(figures, arguments.plot)


if __name__ == "__main__":
    main()
