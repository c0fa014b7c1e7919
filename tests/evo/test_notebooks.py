"""The notebooks run as they are shipped, on small budgets, and say what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))


def test_there_are_the_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_first_search", "02_compare_strategies", "03_read_the_lineage"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_beginning_to_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("NOTEBOOK_EVALUATIONS", "40")
    monkeypatch.setenv("NOTEBOOK_SEEDS", "3")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are shipped without outputs"
    client.NotebookClient(notebook, timeout=150, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    texts = "\n".join(text for cell in notebook.cells for text in outputs(cell))
    pictures = sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))
    expected = {"01_first_search": ("40 evaluations", 2), "02_compare_strategies": ("Climber", 1), "03_read_the_lineage": ("seed", 3)}
    words, least = expected[path.stem]
    assert words in texts and pictures >= least


def outputs(cell: Any) -> list[str]:
    return [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])]
