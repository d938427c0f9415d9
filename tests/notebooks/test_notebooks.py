"""Every notebook is stored with the outputs of a run, and runs from top to bottom."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.runs import NOTEBOOKS, read, run

MAX_BYTES = 200_000
# Folders of whoever ran it.
FOLDERS = re.compile("|".join(map(re.escape, (str(Path.home()), tempfile.gettempdir(), str(Path.cwd())))))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@every_notebook
def test_a_notebook_is_stored_with_the_outputs_of_one_run(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    check_outputs(notebook)
    assert path.stat().st_size < MAX_BYTES


@every_notebook
def test_the_outputs_name_no_folder_of_who_ran_it(path: Path) -> None:
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            shown = re.sub(r"'image/png': '[^']*'", "", str(dict(output)))
            assert not FOLDERS.search(shown), f"{cell.id}: {shown}"


@every_notebook
@pytest.mark.timeout(900)  # once, the libraries are installed
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    notebook = run(path)
    check_outputs(notebook)


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
