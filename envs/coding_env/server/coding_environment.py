"""The environment: programs in a sandbox, and the task to solve."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openenv.core.env_server.interfaces import Environment

from .limits import Limits
from .sandbox import Sandbox, open_sandbox

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        CodingAction,
        CodingObservation,
        CodingState,
    )
else:  # run from inside the folder
    from models import (
        CodingAction,
        CodingObservation,
        CodingState,
    )

_HASH_SEEDS = 2**32


class CodingEnvironment(Environment[CodingAction, CodingObservation, CodingState]):
    """Runs Python programs, each in a new process, in a working folder that lasts for the episode.

    Args:
        limits: The limits of programs.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__()
        self._limits = limits or Limits()
        self._state = CodingState()
        self._sandbox: Sandbox | None = None
        self._hash_seed = 0
        self._expected_stdout: str | None = None
        self._tests: str | None = None

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        *,
        expected_stdout: str | None = None,
        tests: str | None = None,
        **kwargs: Any,
    ) -> CodingObservation:
        """Start an episode with an empty working folder.

        Args:
            seed: Determines the order of sets of strings (``PYTHONHASHSEED``); default: 0.
            episode_id: A name for the episode.
            expected_stdout: A program that writes this solves the task. White space at the end is ignored.
            tests: Python source, run after the program's source in a new process. A program with which the
                tests run to their end solves the task.
            **kwargs: Must be empty.

        Raises:
            SandboxError: This machine does not allow the required isolation.
            TypeError: ``kwargs`` is not empty.
        """
        if kwargs:
            raise TypeError(
                f"Unknown options of reset: {', '.join(kwargs)}. It takes expected_stdout and tests."
            )
        self.close()
        self._sandbox = open_sandbox(self._limits)
        self._hash_seed = (seed or 0) % _HASH_SEEDS
        self._expected_stdout, self._tests = expected_stdout, tests
        self._state = CodingState(episode_id=episode_id or str(uuid4()), isolation=self._sandbox.isolation)
        limits = asdict(self._limits)
        del limits["isolation"], limits["python"]
        return CodingObservation(metadata={"isolation": self._sandbox.isolation, "limits": limits})

    def step(
        self,
        action: CodingAction,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> CodingObservation:
        """Run a program. It finds the files of earlier programs.

        Raises:
            RuntimeError: No episode is running.
            SandboxError: The sandbox has exited.
        """
        if self._sandbox is None:
            raise RuntimeError("No episode is running: call reset before step")
        self._state.step_count += 1
        outcome = self._sandbox.run(action.code, action.stdin, timeout_s=timeout_s, hash_seed=self._hash_seed)
        self._state.duration_s = outcome.duration_s
        is_solved = outcome.exit_code == 0 and self._is_solved(action, outcome.stdout, timeout_s)
        return CodingObservation(
            stdout=outcome.stdout,
            stderr=outcome.stderr,
            exit_code=outcome.exit_code,
            timed_out=outcome.stopped_by == "time",
            stdout_truncated=outcome.stdout_truncated,
            stderr_truncated=outcome.stderr_truncated,
            reward=float(is_solved),
            done=is_solved,
            metadata={"stopped_by": outcome.stopped_by} if outcome.stopped_by else {},
        )

    @property
    def state(self) -> CodingState:
        """The episode's id and step count, and how programs are confined."""
        return self._state

    def close(self) -> None:
        """End all processes of the episode, and remove its files."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.close()

    def _is_solved(self, action: CodingAction, stdout: str, timeout_s: float | None) -> bool:
        if self._expected_stdout is None and self._tests is None:
            return False
        if self._expected_stdout is not None and stdout.rstrip() != self._expected_stdout.rstrip():
            return False
        if self._tests is None:
            return True
        assert self._sandbox is not None
        # With the exit code alone, sys.exit(0) would count as a solution.
        passed = f"passed {secrets.token_hex(16)}"
        tested = f"{action.code}\n\n{self._tests}\n\nimport sys\nprint({passed!r}, file=sys.__stderr__)\n"
        outcome = self._sandbox.run(tested, action.stdin, timeout_s=timeout_s, hash_seed=self._hash_seed)
        return outcome.exit_code == 0 and outcome.stderr.endswith(f"{passed}\n")
