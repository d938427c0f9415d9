"""Measure the throughput of 1 to 4 replicas: python -m benchmarks.replicas [--plot FILE]."""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import VectorSteps
from openenv_gym import RemoteVectorEnv
from openenv_gym.providers.process import ProcessProvider

SLOTS = 256
REPLICAS = (1, 2, 3, 4)
ROUNDS = 7
# An environment, its name in the plot, and the vector steps per round.
ENVIRONMENTS = (
    ("CartPole-v1", "CartPole-v1: 6 µs per step", 100),
    ("benchmarks.environments:Busy1ms-v0", "1 ms of computing per step", 2),
    ("benchmarks.environments:Nap50ms-v0", "50 ms of waiting per step", 4),
)


def measure(gym_id: str, steps: int) -> list[float]:
    """Return the steps per second with each number of replicas, the median of rounds in turns."""
    with ExitStack() as stack:
        provider = stack.enter_context(
            ProcessProvider(gym=gym_id, replicas=max(REPLICAS), max_sessions=SLOTS * len(REPLICAS))
        )
        contenders = [VectorSteps(RemoteVectorEnv(provider.endpoints[:count], SLOTS)) for count in REPLICAS]
        took: list[list[float]] = [[] for _ in contenders]
        for _ in range(ROUNDS):
            for contender, seconds in zip(contenders, took, strict=True):
                seconds.append(contender.run(steps))
        for contender in contenders:
            contender.envs.close()
    return [steps * SLOTS / statistics.median(seconds) for seconds in took]


def plot(figures: dict[str, list[float]], file: Path) -> None:
    """Draw the steps per second, relative to one replica."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(REPLICAS, REPLICAS, color="0.8", linestyle="--", label="proportional")
    for name, per_s in figures.items():
        axes.plot(REPLICAS, [each / per_s[0] for each in per_s], marker="o", label=name)
    axes.set(
        xlabel="replicas", ylabel="steps per second, relative to one replica", xticks=REPLICAS, ylim=(0, 4.2)
    )
    axes.set_title(f"{SLOTS} slots over replicas on one machine with two cores")
    axes.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print a line for each environment, and draw the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the plot there")
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {}
    for gym_id, name, steps in ENVIRONMENTS:
        figures[name] = per_s = measure(gym_id, steps)
        print(
            f"{name}:",
            ", ".join(f"{each:,.0f} ({each / per_s[0]:.2f})" for each in per_s),
            "steps per second",
        )
    if arguments.plot is not None:
        plot(figures, arguments.plot)


if __name__ == "__main__":
    main()
