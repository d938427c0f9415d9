"""Parse the output of a BuildKit build (``--progress plain``) into steps.

Each line of a step starts with the step's number. The first has its name, those with seconds in front are the
output of its command, and ``DONE 1.2s``, ``CACHED``, ``CANCELED`` or ``ERROR: …`` ends it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

_STEP_LINE = re.compile(r"#(\d+) (.*)")
_PRINTED = re.compile(r"\d+\.\d+ ?(.*)")
_DONE = re.compile(r"DONE (\d+\.\d+)s")
_EXIT_CODE = re.compile(r"exit code: (\d+)")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_SOLVING = re.compile(
    r"^(?:ERROR: |failed to build: |failed to solve(?: with frontend [\w.]+)?: "
    r"|failed to create LLB definition: )+"
)
_HINTS = ("See 'docker", "Usage:", "View build details")
_LOAD_IMAGE = "load metadata for "
_KEPT_LINES = 15


@dataclass
class Step:
    """A step of a build.

    Attributes:
        name: As in ``[builder 2/5] RUN pip install uv``.
        printed: The last lines of its command's output.
        seconds: Its duration; None while it runs.
        is_cached: Whether its result came from the cache.
        error: Why it failed; empty if it did not.
    """

    name: str
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    seconds: float | None = None
    is_cached: bool = False
    error: str = ""

    @property
    def now(self) -> str:
        """Its current activity in one line: the last output of its command, or its name."""
        place, bracket, _ = self.name.partition("] ")
        return f"{place}{bracket}{self.printed[-1]}" if self.printed and bracket else self.name

    @property
    def is_instruction(self) -> bool:
        """Whether it is an instruction of the Dockerfile, not an internal step of the builder."""
        return self.name.startswith("[") and not self.name.startswith("[internal]")


class BuildOutput:
    """Parses a build's lines."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._others: list[str] = []

    def feed(self, line: str) -> tuple[Step, bool] | None:
        """Parse a line. Return its step and whether that step has ended; None for a line outside a step."""
        line = _CONTROL.sub("", line)
        match = _STEP_LINE.fullmatch(line)
        if match is None:
            if line.strip():
                self._others.append(line.strip())
            return None
        number, text = match.groups()
        if number not in self._steps:
            # An instruction on several lines keeps their indentation.
            self._steps[number] = Step(" ".join(text.split()))
            return self._steps[number], False
        step = self._steps[number]
        if done := _DONE.fullmatch(text):
            step.seconds = float(done[1])
        elif text == "CACHED":
            step.is_cached = True
        elif text.startswith("ERROR: "):
            step.error = text.removeprefix("ERROR: ")
        elif printed := _PRINTED.fullmatch(text):
            step.printed.append(printed[1])
            return step, False
        else:
            return step, False
        return step, True

    def cause(self) -> str:
        """Why the build failed: the failed step and its last lines, or else Docker's message."""
        step = next((step for step in self._steps.values() if step.error), None)
        if step is None:
            return self._message()
        if _LOAD_IMAGE in step.name:
            image = step.name.partition(_LOAD_IMAGE)[2].removeprefix("docker.io/library/")
            return (
                f"the base image {image} is neither on this machine nor available from its registry "
                f"({step.error}). Check its name and the network, or choose another with --build-arg."
            )
        exit_code = _EXIT_CODE.search(step.error)
        reason = f"exit code {exit_code[1]}" if exit_code else step.error
        return "\n".join([f"{step.name} failed: {reason}", *(f"    {line}" for line in step.printed)])

    def _message(self) -> str:
        lines = [line for line in self._others if not line.startswith(_HINTS)]
        errors = [line for line in lines if _SOLVING.match(line)] or lines
        return _SOLVING.sub("", errors[-1]) if errors else "docker build printed no message"
