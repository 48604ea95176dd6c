"""`make notebooks`: run every notebook from top to bottom and save it with its outputs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.console import Console

FOLDER = Path(__file__).parent
WORK = FOLDER.parent / ".work" / "notebooks"
CELL_SECONDS = 600
CHECKOUT = "/path/to/bert-qa"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebooks(folder: Path = FOLDER) -> list[Path]:
    """Return the notebooks of a folder in their reading order."""
    return sorted(folder.glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    """Return a saved notebook with its saved outputs."""
    notebook: nbformat.NotebookNode = nbformat.read(  # type: ignore[no-untyped-call]
        path, as_version=nbformat.NO_CONVERT
    )
    return notebook


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook in its own folder, as Jupyter does.

    Args:
        path: The notebook; the file is not changed.

    Returns:
        The notebook with its new outputs, in which `CHECKOUT` stands for the path of the checkout.

    Raises:
        CellExecutionError: A cell failed.
    """
    notebook = read(path)
    NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata = METADATA
    here = str(path.absolute().parents[1])
    for output in outputs(notebook):
        if output.output_type == "stream":
            # Commands end lines as for a terminal, and print the path of this checkout.
            output.text = output.text.replace("\r\n", "\n").replace(here, CHECKOUT)
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the outputs of all cells."""
    return [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]


def main() -> int:
    """Run all notebooks from an empty work folder and return the exit status.

    A notebook is saved when all of its cells have run; after a failure the rest is not run.
    """
    console = Console(highlight=False, soft_wrap=True)
    shutil.rmtree(WORK, ignore_errors=True)
    for path in notebooks():
        console.print(f"Running {path.name}")
        try:
            notebook = run(path)
        except CellExecutionError as error:
            console.print(str(error), markup=False)
            return 1
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return 0


if __name__ == "__main__":
    sys.exit(main())
