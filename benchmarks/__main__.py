"""Run the comparisons: python -m benchmarks [NAME …] [--rounds 5] [--json FILE]."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.comparisons import COMPARISONS, Line


def main() -> int:
    """Print the table; the exit code is 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*COMPARISONS, []], help="the comparisons; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender")
    parser.add_argument(
        "--leeway",
        type=float,
        default=1.0,
        help="tolerate ratios that are worse than the target by this factor",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 180)
    lines: list[Line] = []
    for name in arguments.names or COMPARISONS:
        with console.status(f"{name}…"):
            lines.extend(COMPARISONS[name](arguments.rounds))
    console.print(_table(lines))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(_report(lines, arguments.rounds), indent=2) + "\n")
    return 0 if all(line.meets_target(arguments.leeway) for line in lines) else 1


def _table(lines: list[Line]) -> Table:
    table = Table("work", "ours", "ms", "against", "ms", "ratio", "of the rounds", "target", "")
    for line in lines:
        table.add_row(
            line.work,
            line.ours,
            f"{line.ours_ms:.3f}",
            line.against,
            f"{line.against_ms:.3f}",
            f"{line.ratio:.2f}",
            f"{line.ratios[0]:.2f} to {line.ratios[1]:.2f}",
            f"{'at most' if line.at_most else 'at least'} {line.target:g}",
            "yes" if line.meets_target() else "[bold red]no",
        )
    return table


def _report(lines: list[Line], rounds: int) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "comparisons": [asdict(line) for line in lines],
    }


if __name__ == "__main__":
    sys.exit(main())
