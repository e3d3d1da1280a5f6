"""The notebook runs from its first cell to its last, and what is committed shows a run with its pictures."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from kfp_bert_components.registry import Registry
from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook):
    """The kinds of what each cell of code shows."""
    return [
        sorted({kind for output in cell.outputs for kind in output.get("data", {"text": ""})})
        for cell in code(notebook)
    ]


def printed(cell):
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)


def test_what_is_committed_shows_a_run_with_its_pictures():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    shown = [kind for cell in kinds(notebook) for kind in cell]
    assert (shown.count("image/png"), shown.count("image/svg+xml"), shown.count("text/html")) == (1, 2, 1)
    first, second = (cell for cell in code(notebook) if '["outcome"]' in cell.source)
    assert printed(first).startswith("PROMOTE ") and printed(second).startswith(("HOLD ", "REJECT "))
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert not re.findall(r"/(?:tmp|home|root|work|usr)/[\w./-]+", text)


@pytest.mark.docs
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    committed = kinds(notebook)
    (parameters,) = (cell for cell in code(notebook) if cell.metadata.get("tags") == ["parameters"])
    assert parameters.source == "EPOCHS = 6"
    parameters.source = "EPOCHS = 2"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert kinds(notebook) == committed
    (second,) = (printed(cell) for cell in code(notebook) if cell.source.startswith("second = run"))
    assert "prepare-text-data  unchanged: used again" in second and "finetune-bert  ok" in second
    assert Registry(str(tmp_path / "registry")).champion().version >= 1
    assert (tmp_path / "serving" / "1" / "saved_model.pb").exists()
