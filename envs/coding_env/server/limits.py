"""What a program may use, and how it has to be confined; from environment variables."""

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
    """The limits of a sandbox. Each has an environment variable: ``CODING_ENV_`` and its name in capitals.

    Attributes:
        timeout_s: Seconds that a step's program may take.
        cpu_s: Seconds of processor time, for each of its processes.
        memory_mb: Memory: address space for each process, and use of all together.
        files_mb: The size of each file, and of the working folder.
        files: Files and folders in the working folder.
        processes: Processes and threads at a time.
        output_kb: What is kept of each of the two outputs.
        isolation: The weakest confinement to accept; where the machine has none as strong, a reset fails.
        python: The interpreter that runs programs. Its packages are theirs.
    """

    timeout_s: float = 10.0
    cpu_s: int = 10
    memory_mb: int = 512
    files_mb: int = 64
    files: int = 1000
    processes: int = 32
    output_kb: int = 64
    isolation: Isolation = "landlock"
    # The base of the server's own virtual environment, so that programs have none of its packages.
    python: str = getattr(sys, "_base_executable", sys.executable)

    @classmethod
    def from_environment(cls) -> Limits:
        """The limits, as the environment variables have them.

        Raises:
            ValueError: A variable is not what it should be.
        """
        values: dict[str, object] = {}
        for field in fields(cls):
            variable = f"CODING_ENV_{field.name.upper()}"
            text = os.environ.get(variable)
            if text is None:
                continue
            if field.name == "isolation" and text not in ISOLATIONS:
                raise ValueError(f"{variable} is one of {', '.join(ISOLATIONS)}, not {text!r}")
            if field.name in ("isolation", "python"):
                values[field.name] = text
                continue
            try:
                number = float(text) if field.name == "timeout_s" else int(text)
            except ValueError:
                number = 0
            if not number > 0:
                raise ValueError(f"{variable} is a number above 0, not {text!r}")
            values[field.name] = number
        return cls(**values)  # type: ignore[arg-type]
