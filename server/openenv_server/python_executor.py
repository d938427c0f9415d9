"""`PyExecutor`: runs Python code that a model wrote, with the interpreter of smolagents.

Importing this requires that package; an environment that uses it names it among its dependencies.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from typing import Any

from smolagents import LocalPythonExecutor

from openenv_gym.types import CodeExecResult


class PyExecutor:
    """Run Python code in an interpreter that allows only the imports that it is given.

    Variables are kept from one run to the next. The code may call ``format_exc()`` and
    ``safe_json_dumps(value)``. The interpreter is no sandbox: run untrusted code in a container.

    Args:
        additional_imports: Modules that the code may import besides the harmless ones; ``["*"]`` for all.

    Example:
        >>> result = PyExecutor(["json"]).run("print(1 + 1)")
    """

    def __init__(self, additional_imports: Sequence[str] | None = None) -> None:
        self._executor = LocalPythonExecutor(additional_authorized_imports=list(additional_imports or ()))
        self._executor.send_tools({"format_exc": traceback.format_exc, "safe_json_dumps": _as_json})

    def run(self, code: str) -> CodeExecResult:
        """Run code.

        Returns:
            What it printed, followed by the value of its last line as JSON; or exit code 1 and the traceback.
        """
        try:
            done = self._executor(code)
        except Exception:  # whatever the code raises
            return CodeExecResult(stdout="", stderr=traceback.format_exc(), exit_code=1)
        parts = [done.logs] if done.logs else []
        if done.output is not None:
            parts.append(_shown(done.output))
        return CodeExecResult(stdout="\n".join(parts), stderr="", exit_code=0)


def _as_json(value: Any) -> str:
    return json.dumps(value, default=repr)


def _shown(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
