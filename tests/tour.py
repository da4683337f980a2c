"""The notebook of the documentation, run as a reader runs it."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

PATH = Path(__file__).parent.parent / "docs/tour.ipynb"


def executed() -> NotebookNode:
    """The notebook with the outputs of a run from here."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["PYTHONWARNINGS"] = "ignore"  # of progress bars, with paths of this machine
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False).execute()
    return notebook


def texts(notebook: NotebookNode) -> list[str]:
    """What each code cell printed."""
    return [
        "".join(part.get("text", "") for part in cell.outputs if part.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


if __name__ == "__main__":
    nbformat.write(executed(), PATH)
