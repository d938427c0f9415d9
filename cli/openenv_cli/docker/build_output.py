"""What a build with BuildKit writes (``--progress plain``), read into steps.

Each line of a step begins with the step's number: the first has its name, those that begin with seconds are
what its command printed, and ``DONE 1.2s``, ``CACHED``, ``CANCELED`` or ``ERROR: …`` ends it.
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
_NO_REASONS = ("See 'docker", "Usage:", "View build details")
_OF_AN_IMAGE = "load metadata for "
_KEPT_LINES = 15


@dataclass
class Step:
    """A step of a build.

    Attributes:
        name: As in ``[builder 2/5] RUN pip install uv``.
        printed: The last lines that its command printed.
        seconds: How long it took; None while it runs.
        is_cached: Its result was there already.
        error: Why it failed; empty where it did not.
    """

    name: str
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    seconds: float | None = None
    is_cached: bool = False
    error: str = ""

    @property
    def now(self) -> str:
        """What it does now, in a line: what its command printed last, or its name."""
        place, bracket, _ = self.name.partition("] ")
        return f"{place}{bracket}{self.printed[-1]}" if self.printed and bracket else self.name

    @property
    def is_of_the_dockerfile(self) -> bool:
        """Whether it is an instruction, and none of the builder's own steps."""
        return self.name.startswith("[") and not self.name.startswith("[internal]")


class BuildOutput:
    """Reads a build's lines, and knows where it is."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._others: list[str] = []

    def feed(self, line: str) -> tuple[Step, bool] | None:
        """Takes a line; returns the step that it belongs to, and whether that one has ended with it."""
        line = _CONTROL.sub("", line)
        match = _STEP_LINE.fullmatch(line)
        if match is None:
            if line.strip():
                self._others.append(line.strip())
            return None
        number, text = match.groups()
        if number not in self._steps:
            # Of an instruction on several lines, the blanks at their beginnings are left.
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
        """Why the build failed: the step and its last lines, or what Docker said where it was no step."""
        step = next((step for step in self._steps.values() if step.error), None)
        if step is None:
            return self._last_word()
        if _OF_AN_IMAGE in step.name:
            image = step.name.partition(_OF_AN_IMAGE)[2].removeprefix("docker.io/library/")
            return (
                f"the image {image}, which the Dockerfile starts from, is neither here nor to be fetched "
                f"({step.error}). Look at its name and at the network, or name another with --build-arg."
            )
        exit_code = _EXIT_CODE.search(step.error)
        reason = f"exit code {exit_code[1]}" if exit_code else step.error
        return "\n".join([f"{step.name} failed: {reason}", *(f"    {line}" for line in step.printed)])

    def _last_word(self) -> str:
        lines = [line for line in self._others if not line.startswith(_NO_REASONS)]
        said = [line for line in lines if _SOLVING.match(line)] or lines
        return _SOLVING.sub("", said[-1]) if said else "docker build said nothing"
