"""The examples' pages: each notebook is run by a kernel, and becomes Markdown with what its cells gave."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def write_notebooks(folder: Path) -> None:
    """Run every notebook, and write its page and pictures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        parts = [part for cell in run_notebook(path).cells for part in _shown(cell, folder / path.stem)]
        (folder / f"{path.stem}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def run_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in an empty folder. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    with tempfile.TemporaryDirectory() as place:
        where = {"metadata": {"path": place}}
        NotebookClient(notebook, timeout=300, startup_timeout=300, resources=where).execute()
    return notebook


def _shown(cell: Any, stem: Path) -> Iterator[str]:
    """A cell as Markdown."""
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source}\n```"
    for number, output in enumerate(cell.outputs):
        data = output.get("data", {})
        if "text/html" in data:
            yield f"```{{raw}} html\n{data['text/html']}\n```"
        elif "image/png" in data:
            picture = stem.with_name(f"{stem.name}-{cell.id}-{number}.png")
            picture.write_bytes(base64.b64decode(data["image/png"]))
            yield f"![What the cell shows]({picture.name})"
        elif "text/plain" in data:
            yield f"```text\n{data['text/plain']}\n```"
    if printed := "".join(output.text for output in cell.outputs if output.get("name") == "stdout"):
        yield f"```text\n{printed.rstrip()}\n```"
