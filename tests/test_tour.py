"""docs/tour.ipynb runs as it is, on a fresh clone without weights and without a network, and is small."""

import nbformat
import pytest
from conftest import PROJECT
from nbclient import NotebookClient

TOUR = PROJECT / "docs" / "tour.ipynb"


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text_of(notebook):
    parts = [output.get("text", "") or output.get("data", {}).get("text/html", "") for output in outputs(notebook)]
    return "\n".join(parts)


def test_the_tour_is_kept_executed_and_small():
    notebook = nbformat.read(TOUR, 4)
    nbformat.validate(notebook)
    assert TOUR.stat().st_size < 300_000
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    for said in ("best epoch", "mean absolute error", "QP"):
        assert said in text_of(notebook)


@pytest.mark.slow  # it trains for half a minute
def test_the_tour_runs():
    notebook = nbformat.read(TOUR, 4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": TOUR.parent}}
    ).execute()
    assert "best epoch" in text_of(notebook) and "mean absolute error" in text_of(notebook)
