"""The notebooks in docs/notebooks run from an empty folder, without a network, and are kept with their outputs."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NOTEBOOKS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.ipynb"))}
SMALL = {
    "epochs=2": "epochs=1",
    "epochs = 2": "epochs = 1",
    "train(model, 3)": "train(model, 1)",
    "prepared(data.train)": "prepared(data.train[:192])",
    "prepared(data.test)": "prepared(data.test[:96])",
    "[arm.label for": "import dataclasses\nstudy = dataclasses.replace(study, draw=('sweep',))\n[arm.label for",
}
"""What a notebook does less of in the tests than where its outputs were made."""

FIRST = """
%reset -f
import os

os.chdir({folder!r})
os.sched_getaffinity = lambda _pid: {{0}}  # no processes, which import all of it anew
"""
"""What runs before a notebook: it knows no name of the notebooks before it, and has a folder of its own."""

NEEDS = {"lightning": ["lightning"], "prune-and-ship": ["onnx", "onnxruntime", "onnxscript"]}


def cells(notebook: dict[str, Any], kind: str = "code") -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_cell_that_runs_is_the_one_install_line(name: str) -> None:
    first, *rest = cells(NOTEBOOKS[name])
    assert first["metadata"]["tags"] == ["install"]
    assert re.fullmatch(r"%pip install -q '?sparsify-study(\[onnx\])?'?( lightning)?", "".join(first["source"]))
    assert not any("install" in cell["metadata"].get("tags", []) for cell in rest)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_kept_with_its_outputs_and_names_no_folder_of_a_machine(name: str) -> None:
    text = json.dumps([cell["outputs"] for cell in cells(NOTEBOOKS[name])])
    assert '"output_type": "error"' not in text
    assert '"name": "stderr"' not in text
    assert not re.search(r"/(?:home|root|tmp|work|usr|Users)/", text)
    assert any(cell["outputs"] for cell in cells(NOTEBOOKS[name]))
    assert [cell["execution_count"] for cell in cells(NOTEBOOKS[name])[1:]] == list(
        range(1, len(cells(NOTEBOOKS[name])))
    )


def test_the_core_study_is_shown_in_ten_cells() -> None:
    assert len(cells(NOTEBOOKS["core-study"])) == 10


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One for all notebooks, because it imports torch, which takes seconds; the first notebook starts it."""
    manager = pytest.importorskip("jupyter_client").AsyncKernelManager(kernel_name="python3")
    from jupyter_core.utils import run_sync

    none = str(tmp_path_factory.mktemp("none"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for variable in ("SPARSIFY_DATA", "XDG_CACHE_HOME"):
            patch.setenv(variable, none)
        yield manager
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)  # also where a browser of other tests has its loop running


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs(name: str, kernel: Any, tmp_path: Path) -> None:
    missing = [one for one in ("nbclient", "ipykernel", *NEEDS.get(name, [])) if importlib.util.find_spec(one) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    import nbclient
    import nbformat

    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        for much, little in SMALL.items():
            cell.source = cell.source.replace(much, little)
    first = FIRST.format(folder=str(tmp_path))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))  # type: ignore[no-untyped-call]
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=240, coalesce_streams=True)  # whole, however slow
    try:
        client.execute()  # raises CellExecutionError with the cell and its traceback
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
    kept = cells(NOTEBOOKS[name])[1:]
    for cell, before in zip(cells(notebook)[1:], kept, strict=True):
        shown = [one["output_type"] for one in cell["outputs"] if one.get("name") != "stderr"]  # warnings name folders
        assert shown == [one["output_type"] for one in before["outputs"]]
