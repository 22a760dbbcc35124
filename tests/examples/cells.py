"""Runs a notebook's cells one after the other in this process, and keeps what each would show."""

from __future__ import annotations

import ast
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import pyplot

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


class Shown(NamedTuple):
    """What a cell shows: what it printed, the value of its last line, its charts as PNG."""

    printed: str
    value: Any
    charts: list[bytes]


def read(path: Path) -> dict[str, Any]:
    """The notebook as it is stored."""
    return json.loads(path.read_text(encoding="utf-8"))


def sources(path: Path, kind: str) -> list[str]:
    """The text of each cell of that kind: "code" or "markdown"."""
    return ["".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == kind]


def run(path: Path) -> tuple[list[Shown], dict[str, Any]]:
    """What the cells show, and the names that they leave."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [
        _run_cell(source, names, f"{path.name}:{number}") for number, source in enumerate(sources(path, "code"))
    ], (names)


def _run_cell(source: str, names: dict[str, Any], place: str) -> Shown:
    tree, last = ast.parse(source), None
    if isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        last = ast.Expression(tree.body.pop().value)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, place, "exec"), names)
        value = eval(compile(last, place, "eval"), names) if last else None
    charts = list[bytes]()
    for number in pyplot.get_fignums():  # a notebook shows what is open at the end of a cell
        file = io.BytesIO()
        pyplot.figure(number).savefig(file)
        charts.append(file.getvalue())
        pyplot.close(number)
    return Shown(printed.getvalue(), value, charts)
