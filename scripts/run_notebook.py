"""Run examples/notebook.ipynb in an empty folder, and write it back with its outputs and pictures.

.venv/bin/python scripts/run_notebook.py
"""

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "notebook.ipynb"


def main() -> None:
    """Run it; paths of this machine are made relative."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=place, record_timing=False, coalesce_streams=True).execute()
        text = nbformat.writes(notebook).replace(f"{folder}/", "")
    NOTEBOOK.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
