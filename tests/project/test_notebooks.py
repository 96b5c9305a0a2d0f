"""The notebooks run from start to end, and are kept as they should be: short cells, no outputs.

They run in a folder of their own and on the embedded digits, whatever is in $NANOCNN_DATA.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import nanocnn
from support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SAMPLE = Path(nanocnn.__file__).parent / "data" / "sample"


def read(path):
    return nbformat.read(path, as_version=4)


def test_the_four_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "backprop_by_hand", "how_to_reach_99_7", "kernels_and_speed", "train_mnist",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs_and_with_stable_ids(path):
    notebook = read(path)
    nbformat.validate(notebook)
    key = notebook.cells[0]["id"].split("-")[0]
    for i, cell in enumerate(notebook.cells, 1):
        assert cell["id"] == f"{key}-{i:02d}"
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert path.stat().st_size < 50_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_made_for_reading(path):
    """A title, more words than code between the cells, no cell longer than a screen."""
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert max(len(source.splitlines()) for source in code) <= 36
    assert len(cells) - len(code) >= 0.6 * len(code)
    for word in re.findall(r"`(nanocnn/[\w/.]+|\w+\.ipynb|\w+\.py)`", "".join(map(str, cells))):
        assert (ROOT / word).exists() or (ROOT / "examples" / word).exists(), word


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the notebook machinery; ours are errors, see `strict`
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_start_to_end(path, tmp_path, monkeypatch):
    monkeypatch.setenv("NANOCNN_DATA", str(SAMPLE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own: pictures go inline
    notebook = read(path)
    strict = "import warnings; warnings.filterwarnings('error', module='nanocnn|__main__')"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(strict))
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    client.execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    assert not [out for out in outputs if out.output_type == "error"]
    pictures = [out for out in outputs if "image/png" in out.get("data", ())]
    wanted = sum(
        bool(re.search(r"^(plots\.\w+\(.*\)|figure)$", cell.source.splitlines()[-1]))
        for cell in notebook.cells if cell.cell_type == "code"
    )  # fmt: skip
    assert len(pictures) == wanted >= 1
