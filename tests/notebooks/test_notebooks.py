"""Every notebook is stored with the outputs of a run, and runs from top to bottom."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.runs import NOTEBOOKS, WITH_DOCKER, check_outputs, code_cells, read, run

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


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.name != WITH_DOCKER], ids=lambda path: path.stem
)
@pytest.mark.timeout(900)  # once, the libraries are installed
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    check_outputs(run(path))
