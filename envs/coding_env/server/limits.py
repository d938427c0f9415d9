"""The limits of programs and their required isolation, from environment variables."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from typing import Literal, get_args

Isolation = Literal["namespaces", "landlock", "limits"]

# From the strongest to the weakest.
ISOLATIONS: tuple[Isolation, ...] = get_args(Isolation)


@dataclass(frozen=True)
class Limits:
    """The limits of a sandbox. Each has an environment variable: ``CODING_ENV_`` with its name in capitals.

    Attributes:
        timeout_s: The most seconds for a program.
        cpu_s: The most seconds of CPU time, for each process.
        memory_mb: The address space of each process, and the memory in use by all together.
        files_mb: The size of each file, and of the working folder.
        files: The most files and folders in the working folder.
        processes: The most processes and threads at a time.
        output_kb: How much of each output is kept.
        isolation: The weakest isolation to accept; if the machine has none, no server starts.
        python: The interpreter that runs programs. They can import its packages.
    """

    timeout_s: float = 10.0
    cpu_s: int = 10
    memory_mb: int = 512
    files_mb: int = 64
    files: int = 1000
    processes: int = 32
    output_kb: int = 64
    isolation: Isolation = "landlock"
    # The base interpreter of the server's virtual environment, so that programs see none of its packages.
    python: str = getattr(sys, "_base_executable", sys.executable)

    @classmethod
    def from_environment(cls) -> Limits:
        """Read the limits from the environment variables.

        Raises:
            ValueError: A variable is invalid.
        """
        values: dict[str, object] = {}
        for field in fields(cls):
            variable = f"CODING_ENV_{field.name.upper()}"
            text = os.environ.get(variable)
            if text is None:
                continue
            if field.name == "isolation" and text not in ISOLATIONS:
                raise ValueError(f"{variable} must be one of {', '.join(ISOLATIONS)}, got {text!r}")
            if field.name in ("isolation", "python"):
                values[field.name] = text
                continue
            try:
                number = float(text) if field.name == "timeout_s" else int(text)
            except ValueError:
                number = 0
            if not number > 0:
                raise ValueError(f"{variable} must be a number above 0, got {text!r}")
            values[field.name] = number
        return cls(**values)  # type: ignore[arg-type]
