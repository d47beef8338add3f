"""The notebook of the examples runs in an empty folder, and is shown as it was run."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "first_minutes.ipynb"


def code_cells(content: Any) -> list[Any]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def shown(cell: Any) -> str:
    """The text that a cell shows."""
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell["outputs"]]
    return "".join(part for text in texts for part in text)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the kernel's own
def test_the_notebook_runs_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    repository = str(NOTEBOOK.parents[1])
    monkeypatch.setenv("PYTHONPATH", repository)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    home = tmp_path / "home"
    home.mkdir()
    resources = {"metadata": {"path": str(home)}}
    client = NotebookClient(
        notebook, timeout=300, startup_timeout=180, kernel_name="python3", resources=resources
    )
    client.execute()
    cells = code_cells(notebook)
    assert "my_net − nearest_neighbor" in shown(cells[-2])
    assert "My network (not in the paper)" in shown(cells[-1])
    assert any("image/png" in output.get("data", {}) for c in cells for output in c["outputs"])
    assert sorted(p.name for p in (home / "runs" / "glyphs").iterdir()) == [
        "my_net", "nearest_neighbor", "pretrained_cosine", "trainings",
    ]  # fmt: skip


def test_the_notebook_is_shown_as_it_was_run() -> None:
    content = json.loads(NOTEBOOK.read_text())
    cells = code_cells(content)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"]
    assert all(shown(cell) for cell in cells[1:] if not cell["source"][0].startswith("import"))
    assert str(NOTEBOOK.parents[1]) not in NOTEBOOK.read_text()
