"""Run notebooks from top to bottom; `python -m tests.notebooks.runs` saves their outputs.

Without arguments it runs all of them; else those whose names contain an argument. The one that builds an
image needs a Docker engine, and a registry at `REGISTRY`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from traitlets import default

from tests.trainers.venvs import notebooks_python

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
# Run in the tier of containers.
WITH_DOCKER = "03_build_and_publish.ipynb"
CELL_TIMEOUT_S = 300
_FOLDERS = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")


def read(path: Path) -> Any:
    """Read a notebook as it is stored."""
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


class NotebookKernel(AsyncKernelManager):
    """Starts a kernel in the environment of notebooks, whichever kernels the machine has registered."""

    @default("kernel_spec_manager")
    def _no_registered_kernels(self) -> KernelSpecManager:
        return KernelSpecManager(parent=self, kernel_dirs=[])

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        _, *arguments = super().format_kernel_cmd(extra_arguments)
        return [str(notebooks_python()), *arguments]


def run(path: Path) -> Any:
    """Run a notebook in an empty folder, away from the user's settings; return it with its outputs."""
    notebook = read(path)
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        settings = {variable: f"{folder}/{variable.lower()}" for variable in _FOLDERS}
        (work := Path(folder) / "work").mkdir()
        with patch.dict(os.environ, settings):
            NotebookClient(
                notebook,
                timeout=CELL_TIMEOUT_S,
                kernel_name="python3",
                kernel_manager_class=NotebookKernel,
                resources={"metadata": {"path": str(work)}},
            ).execute()
    return notebook


def save(path: Path) -> None:
    """Run a notebook, and save it with its outputs."""
    notebook = run(path)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


def check_outputs(notebook: Any) -> None:
    """All cells ran in order, without warnings, and each plot is shown."""
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    warned = [out.text for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert warned == []
    plots = [cell for cell in cells if "plt.show" in cell.source]
    assert plots, "no cell plots"
    for cell in plots:
        assert any("image/png" in out.get("data", {}) for out in cell.outputs), f"{cell.id} shows no plot"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


if __name__ == "__main__":
    for each in NOTEBOOKS:
        if len(sys.argv) == 1 or any(word in each.name for word in sys.argv[1:]):
            save(each)
            print(each.name)
